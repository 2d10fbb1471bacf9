"""`vagus demo`, as a newcomer runs it."""

import json
import os
import signal
import sys
from pathlib import Path

import anyio
import pytest

from tests.kit.waiting import eventually
from vagus.runtime.bus import Bus
from vagus.runtime.embedded import EmbeddedServer

COMMAND = [sys.executable, "-c", "from vagus.cli import main; main()", "demo"]


def left(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


@pytest.fixture
def environ(tmp_path: Path) -> dict[str, str]:
    """A caller whose own settings must not change what is shown."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("VAGUS_")}
    return {
        **kept,
        "TMPDIR": str(tmp_path),
        "VAGUS_LOOP_DETECTION": "nonsense",
        "VAGUS_ROOT_SUBJECT": "other",
    }


async def test_the_demo_shows_everything_and_leaves_nothing(environ: dict[str, str], tmp_path: Path) -> None:
    with anyio.fail_after(60):
        done = await anyio.run_process(COMMAND, env=environ, input=b"")
    shown = done.stdout.decode()
    for said in (
        "fs.write",
        "fs.read",
        '"stdout":"3\\n"',
        "capabilities denied: exec:cmd:git",
        "not asked at a terminal: the demo approves it by itself",
        "approved",
        "forked from main",
        "merged limerick",
        "The haiku is in artifacts/haiku.txt and has three lines.",
        "✓ verified",
    ):
        assert said in shown
    assert left(tmp_path) == []


async def test_the_demo_reports_as_json(environ: dict[str, str], tmp_path: Path) -> None:
    with anyio.fail_after(60):
        done = await anyio.run_process([*COMMAND, "--json"], env=environ, input=b"")
    report = json.loads(done.stdout)
    assert (report["verified"], report["approved"], report["approved_by"]) == (True, True, "demo")
    assert (report["tool_calls"], report["calls_ok"], report["calls_refused"]) == (5, 4, 1)
    assert {branch["branch_id"] for branch in report["branches"]} == {"main", "limerick"}
    assert left(tmp_path) == []


async def test_the_demo_leaves_nothing_on_a_server_of_somebody_elses(
    environ: dict[str, str], tmp_path: Path, own_broker: EmbeddedServer, own_bus: Bus
) -> None:
    with anyio.fail_after(60):
        done = await anyio.run_process([*COMMAND, "--json", "--server", own_broker.url], env=environ)
    assert json.loads(done.stdout)["verified"]
    assert not (await own_bus.api("STREAM.NAMES"))["streams"]
    assert left(tmp_path) == ["nats"]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
async def test_the_demo_can_be_interrupted_and_leaves_nothing(
    environ: dict[str, str], tmp_path: Path, number: signal.Signals
) -> None:
    async with await anyio.open_process([*COMMAND, "--json"], env=environ) as process:
        await eventually(lambda: list(tmp_path.glob("vagus-demo-*/nats/nats.log")), timeout_s=30)
        process.send_signal(number)
        with anyio.fail_after(15):
            assert await process.wait() == 130
    assert left(tmp_path) == []
