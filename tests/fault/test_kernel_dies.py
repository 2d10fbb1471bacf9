"""The kernel is killed between any two steps of a tick; another one goes on, and nothing happens twice."""

from pathlib import Path

import anyio
import pytest

import vagus
from tests.kit.processes import process
from tests.kit.system import System, system
from tests.kit.waiting import eventually
from vagus.contract.subjects import Subjects
from vagus.runtime.embedded import EmbeddedServer

POLICY = vagus.PolicySet(
    allow_capabilities=("*",), gate_capabilities=(), max_tool_runtime_secs=20, max_events_per_turn=256
)
APPEND = "printf x >> ran.txt"


async def tick_across_a_death(whole: System, folder: Path, fault: str) -> vagus.TickOutput:
    """A tick that begins under a kernel which dies at `fault`, and ends under the next one."""
    environ = whole.environ | {"VAGUS_INSTANCE": "mortal"}
    outcome: list[vagus.TickOutput] = []
    session = await whole.client.session("s")
    async with (
        process("vagus_kernel", environ | {"VAGUS_FAULT": fault}, folder / "first.log") as first,
        anyio.create_task_group() as tasks,
    ):

        async def tick() -> None:
            call = vagus.ToolCall(tool_name="shell.exec", input={"command": "sh", "args": ["-c", APPEND]})
            outcome.append(await session.tick("append", tool=call, timeout_s=40))

        tasks.start_soon(tick)
        assert await first.ended() == -9
        async with process("vagus_kernel", environ, folder / "second.log"):
            await eventually(lambda: outcome, timeout_s=45)
            await check(session)
    return outcome[0]


async def check(session: vagus.Session) -> None:
    assert (await session.verify()).ok
    events = await session.read_events(limit=1000)
    assert [event.sequence for event in events] == list(range(1, len(events) + 1))
    seen = [event.kind.type for event in events]
    assert seen.count("ToolCallRequested") == 1
    assert seen.count("ToolCallCompleted") == 1
    assert seen.count("Heartbeat") == 1


@pytest.mark.parametrize("visit", [1, 2, 3])
@pytest.mark.parametrize(
    "point", ["kernel.before_commit", "kernel.committed_not_performed", "kernel.performed_not_acked"]
)
async def test_a_tick_survives_the_death_of_its_kernel(
    broker: EmbeddedServer, subjects: Subjects, tmp_path: Path, point: str, visit: int
) -> None:
    allowed = {"allowed_commands": "sh"}
    async with system(broker.url, subjects, tmp_path, **allowed) as whole:
        await whole.client.create_session(owner="me", policy=POLICY, session_id="s")
        await whole.services["kernel3"].drain()
        output = await tick_across_a_death(whole, tmp_path, f"{point}:{visit}")
        assert [result.status for result in output.tool_results] == ["ok"]
        assert (whole.root / "sessions" / "s" / "ran.txt").read_text() == "x"
