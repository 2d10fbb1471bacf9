"""The kernel is killed between any two steps of a tick; another one goes on, and nothing happens twice."""

from functools import partial
from pathlib import Path

import anyio
import pytest

import vagus
from tests.kit.processes import process
from tests.kit.system import System, system
from tests.kit.waiting import eventually
from vagus.contract import limits
from vagus.contract.subjects import Subjects
from vagus.runtime.embedded import EmbeddedServer

POLICY = vagus.PolicySet(
    allow_capabilities=("*",), gate_capabilities=(), max_tool_runtime_secs=20, max_events_per_turn=256
)
ASKING = vagus.PolicySet(
    allow_capabilities=(),
    gate_capabilities=("fs:write:*", "payments:*"),
    max_tool_runtime_secs=20,
    max_events_per_turn=256,
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


@pytest.mark.parametrize("ends", ["denied", "cancelled"])
async def test_tickets_of_a_call_that_was_ended_are_withdrawn_by_the_next_kernel(
    broker: EmbeddedServer,
    subjects: Subjects,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    ends: str,
) -> None:
    """The third commit ends the call; the kernel dies before it tells the approver."""
    monkeypatch.setattr(limits, "REPLY_TIMEOUT_S", 60.0)
    call = vagus.ToolCall(
        tool_name="fs.write", input={"path": "a", "content": ""}, requested_capabilities=("payments:x",)
    )
    async with system(broker.url, subjects, tmp_path) as whole:
        session = await whole.client.create_session(owner="me", policy=ASKING, session_id="s")
        await whole.services["kernel3"].drain()
        environ = whole.environ | {"VAGUS_INSTANCE": "mortal"}
        fault = {"VAGUS_FAULT": "kernel.committed_not_performed:3"}
        async with (
            process("vagus_kernel", environ | fault, tmp_path / "first.log") as first,
            anyio.create_task_group() as tasks,
        ):
            output = await session.tick("write", tool=call)
            assert len(output.pending_approvals) == 2
            one, other = await eventually(lambda: both(whole))
            if ends == "denied":
                tasks.start_soon(partial(whole.client.deny, one.approval_id, actor="me"))
            else:
                tasks.start_soon(session.cancel)
            assert await first.ended() == -9
            assert other in await whole.client.approvals()
            async with process("vagus_kernel", environ, tmp_path / "second.log"):
                await eventually(lambda: none(whole), timeout_s=45)
                with pytest.raises(vagus.ApprovalNotPending):
                    await whole.client.approve(other.approval_id, actor="me")
                assert (await session.verify()).ok


async def both(whole: System) -> list[vagus.ApprovalTicket]:
    """The tickets, when two are there."""
    found = await whole.client.approvals()
    return found if len(found) == 2 else []


async def none(whole: System) -> bool:
    """Whether no ticket is open."""
    return await whole.client.approvals() == []
