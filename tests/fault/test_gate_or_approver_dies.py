"""The policy gate and the approver are killed between their steps; the next ones go on, and all ends once."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import anyio
import pytest

import vagus
from tests.kit.processes import process
from tests.kit.services import stored, wait_until_empty
from tests.kit.system import System, system
from tests.kit.waiting import eventually
from vagus.contract import limits
from vagus.contract.subjects import Subjects
from vagus.runtime.embedded import EmbeddedServer
from vagus_approver.approver import RESOLUTION_STORED, TICKET_RESOLVED
from vagus_policygate.gate import VERDICT_STORED

ASKING = vagus.PolicySet(
    allow_capabilities=("*",),
    gate_capabilities=("exec:cmd:sh",),
    max_tool_runtime_secs=20,
    max_events_per_turn=256,
)
APPEND = vagus.ToolCall(
    tool_name="shell.exec", input={"command": "sh", "args": ["-c", "printf x >> ran.txt"]}
)
PATIENCE_S = 60.0


@asynccontextmanager
async def mortal(whole: System, module: str, fault: str, folder: Path) -> AsyncIterator[anyio.Event]:
    """A process that dies at a point, and the one that takes its place; the event is set when it has."""
    replaced = anyio.Event()
    environ = whole.environ | {"VAGUS_FAULT": fault}
    async with (
        process(module, environ, folder / "first.log") as first,
        anyio.create_task_group() as tasks,
    ):

        async def replace() -> None:
            assert await first.ended(PATIENCE_S) == -9
            async with process(module, whole.environ, folder / "second.log"):
                replaced.set()
                await anyio.sleep_forever()

        tasks.start_soon(replace)
        yield replaced
        tasks.cancel_scope.cancel()


@pytest.mark.parametrize(
    ("module", "fault"),
    [
        ("vagus_policygate", f"{VERDICT_STORED}:1"),  # that people are to be asked
        ("vagus_policygate", f"{VERDICT_STORED}:2"),  # that it may run
        ("vagus_approver", TICKET_RESOLVED),
        ("vagus_approver", RESOLUTION_STORED),
    ],
)
async def test_a_call_that_people_approve_runs_once(
    broker: EmbeddedServer,
    subjects: Subjects,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    module: str,
    fault: str,
) -> None:
    monkeypatch.setattr(limits, "REPLY_TIMEOUT_S", PATIENCE_S)
    other = "approver" if module == "vagus_policygate" else "gate"
    async with (
        system(
            broker.url, subjects, tmp_path, services=f"{other} runner kernel", allowed_commands="sh"
        ) as whole,
        mortal(whole, module, fault, tmp_path) as replaced,
    ):
        session = await whole.client.create_session(owner="me", policy=ASKING, session_id="s")
        output = await session.tick("append", tool=APPEND, timeout_s=PATIENCE_S)
        assert output.reason == "awaiting_approval"
        (ticket,) = await eventually(whole.client.approvals, timeout_s=PATIENCE_S)
        await whole.client.approve(ticket.approval_id, actor="boss")

        async def seen() -> list[str]:
            return [event.kind.type for event in await session.read_events(limit=1000)]

        async def ended() -> bool:
            return (await seen()).count("ToolCallCompleted") == 1 and (await seen())[-1] == "PhaseEntered"

        await eventually(ended, timeout_s=PATIENCE_S)
        with anyio.fail_after(PATIENCE_S):
            await replaced.wait()
        for queue in ("INBOX", "GATE", "TOOLS", "APPROVALS"):
            await wait_until_empty(whole.bus, subjects.named(queue), timeout_s=PATIENCE_S)
        assert await stored(whole.bus, subjects.named("DEAD")) == 0
        assert (await session.verify()).ok
        once = ("ToolCallRequested", "ApprovalRequested", "ApprovalResolved", "ToolCallCompleted")
        assert [(await seen()).count(kind) for kind in once] == [1, 1, 1, 1]
        assert (whole.root / "sessions" / "s" / "ran.txt").read_text() == "x"
        assert (await session.tick("after")).reason == "completed"
