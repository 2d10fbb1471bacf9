"""The checker reads what a real Vagus has archived and restored."""

import json
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

import vagus
from chaos.checker.check import Options, check
from chaos.checker.log import server
from chaos.checker.report import Report
from tests.kit.broker import Broker
from tests.kit.system import System, system
from vagus.contract.subjects import Subjects

POLICY = vagus.PolicySet(
    allow_capabilities=("*",), gate_capabilities=(), max_tool_runtime_secs=20, max_events_per_turn=256
)


@pytest.fixture
async def whole(broker: Broker, subjects: Subjects, tmp_path: Path) -> AsyncIterator[System]:
    """A session that is archived, one that was restored, and one that is neither."""
    async with system(broker.url, subjects, tmp_path, services="kernel") as running:
        for name in ("archived", "restored", "plain"):
            session = await running.client.create_session(owner="me", policy=POLICY, session_id=name)
            await session.tick(name, command_id=f"tick-{name}")
            if name != "plain":
                await running.client.archive_session(name)
            if name == "restored":
                await session.tick("more")
        yield running


async def checked(whole: System, folder: Path) -> Report:
    accepted = folder / "accepted.ndjson"
    lines = [
        {"session_id": name, "branch_id": "main", "command_id": f"tick-{name}"}
        for name in ("archived", "restored", "plain")
    ]
    accepted.write_text("".join(json.dumps(line) + "\n" for line in lines))
    async with server(whole.url) as source:
        return await check(source, Options(root=whole.subjects.root, accepted=accepted, drain_s=20.0))


async def test_archived_and_restored_logs_are_without_violations(whole: System, tmp_path: Path) -> None:
    report = await checked(whole, tmp_path)
    assert [str(violation) for violation in report.violations] == []
    assert report.counts.sessions == 3
    assert report.counts.accepted == 3
