"""Golden traces through live services on a real broker, compared field by field with what is ruled."""

from pathlib import Path

import pytest

from tests.kit.broker import Broker
from tests.parity.account import Account
from tests.parity.applicability import NOT_LIVE, NOT_PLAYED, REFUSED_SETTINGS, WITHOUT_THE_FAULT
from tests.parity.comparison import mismatches
from tests.parity.live_world import live_world
from tests.parity.projection import project
from tests.parity.reference.tell import tell
from tests.parity.rulings import RULINGS
from tests.parity.trace import load, names
from vagus.contract.subjects import Subjects

MEASURED = {"ToolCallCompleted": ("duration_ms",)}
"""Fields that a runner measures and no script can set."""

PLAYED = [name for name in names() if name not in NOT_LIVE]


@pytest.mark.parametrize("name", PLAYED)
async def test_the_services_tell_what_is_ruled(
    name: str, broker: Broker, subjects: Subjects, tmp_path: Path
) -> None:
    trace = load(name)
    async with live_world(trace, broker.url, subjects, tmp_path) as world:
        told = await world.play()
    assert mismatches(unmeasured(project(tell(trace, RULINGS))), unmeasured(project(told))) == []


def test_the_readme_says_which_traces_are_left_out() -> None:
    lines = (Path(__file__).parent / "README.md").read_text().split("\n## Live\n")[1].splitlines()
    cells = [
        [cell.strip() for cell in line.strip("|").split(" | ")] for line in lines if line.startswith("| `")
    ]
    said = {name.strip("`"): why for name, why in cells}
    elsewhere = {*NOT_PLAYED, *REFUSED_SETTINGS, *WITHOUT_THE_FAULT}
    assert said == {name: why for name, why in NOT_LIVE.items() if name not in elsewhere}
    assert lines[1].startswith(f"{len(names()) - len(NOT_LIVE)} traces")


def unmeasured(account: Account) -> Account:
    """The account with placeholders for what was measured."""
    for branches in account.events.values():
        for told in branches.values():
            for event in told:
                for field in MEASURED.get(event.kind["type"], ()):
                    assert isinstance(event.kind[field], int)
                    event.kind[field] = "<measured>"
    return account
