"""The checker let loose on worlds that live in this process: it shares no code with what made them."""

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import msgspec

from chaos.checker.report import Report
from tests.kit import apart
from tests.kit.recording import Recording, recorded
from tests.kit.world import World


def check_world(world: World) -> None:
    """Everything has come to rest, and there is nothing to complain of."""
    assert_clean(checked(left_by(world)))


def left_by(world: World) -> Recording:
    """What a world has left: its log, its tickets, and what its clients were told."""
    recording = recorded((commit.payload for commit in world.commits()), world.tickets.values())
    recording.accepted = [
        {
            "session_id": wire["session_id"],
            "branch_id": wire["branch_id"],
            "command_id": command_id,
            "reply": msgspec.json.decode(msgspec.json.encode(reply)),
        }
        for command_id, wire in world.sent.items()
        if wire["type"] == "Tick"
        for reply in world.replies[command_id]
    ]
    return recording


def checked(recording: Recording, **options: Any) -> Report:
    """What the checker finds."""

    async def check() -> Report:
        return await recording.checked(Path(folder), **options)

    with TemporaryDirectory() as folder:
        return apart.run(check)


def assert_clean(report: Report) -> None:
    assert [str(violation) for violation in report.violations] == []
