"""The kernel among its peers: whole ticks over a real broker."""

import json
from collections.abc import AsyncIterator
from pathlib import Path

import anyio
import pytest

import vagus
from tests.kit.system import System, system
from tests.kit.waiting import eventually
from vagus.contract.events import is_extension
from vagus.contract.models import ModelRouting
from vagus.contract.subjects import Subjects
from vagus.runtime.embedded import EmbeddedServer

OPEN = vagus.PolicySet(
    allow_capabilities=("*",),
    gate_capabilities=("payments:*",),
    max_tool_runtime_secs=20,
    max_events_per_turn=256,
)


@pytest.fixture
async def whole(broker: EmbeddedServer, subjects: Subjects, tmp_path: Path) -> AsyncIterator[System]:
    async with system(broker.url, subjects, tmp_path) as running:
        yield running


def kinds(events: list[vagus.EventRecord]) -> list[str]:
    return [
        f"P:{event.kind.phase}" if event.kind.type == "PhaseEntered" else event.kind.type
        for event in events
        if not is_extension(event.kind)
    ]


TEXT = [
    "P:perceive",
    "P:deliberate",
    "DeliberationProposed",
    "StateEstimated",
    "RunStarted",
    "StepStarted",
    "Message",
    "TextDelta",
    "P:commit",
    "StepFinished",
    "RunFinished",
    "P:reflect",
    "BudgetUpdated",
    "StateEstimated",
    "CheckpointCreated",
    "Heartbeat",
    "P:sleep",
]


async def test_a_text_tick_goes_through(whole: System) -> None:
    session = await whole.client.create_session(owner="me", policy=OPEN, session_id="s1")
    output = await session.tick("hello")
    assert output.reason == "completed"
    assert output.text == "working on: hello done"
    events = await session.read_events(limit=1000)
    assert kinds(events) == ["SessionCreated", "P:sleep", *TEXT]
    assert (await session.verify()).ok


async def test_a_tool_tick_writes_and_reads_a_file(whole: System) -> None:
    session = await whole.client.create_session(owner="me", policy=OPEN)
    wrote = await session.tick(
        "write", tool=vagus.ToolCall(tool_name="fs.write", input={"path": "artifacts/a.txt", "content": "hi"})
    )
    assert [r.status for r in wrote.tool_results] == ["ok"]
    read = await session.tick(
        "read", tool=vagus.ToolCall(tool_name="fs.read", input={"path": "artifacts/a.txt"})
    )
    assert read.tool_results[0].outcome.output["content"] == "hi"
    assert "FileMutated" in kinds(await session.read_events(limit=1000))


async def test_a_denied_call_fails_with_its_capabilities(whole: System) -> None:
    policy = vagus.PolicySet.preset("anonymous")
    session = await whole.client.create_session(owner="me", policy=policy)
    output = await session.tick("run", tool=vagus.ToolCall(tool_name="shell.exec", input={"command": "ls"}))
    assert output.tool_results[0].error == "capabilities denied: exec:cmd:ls"
    assert output.mode == "recover"


async def test_an_approved_call_runs_by_itself(whole: System) -> None:
    policy = vagus.PolicySet(
        allow_capabilities=("*",),
        gate_capabilities=("fs:write:*",),
        max_tool_runtime_secs=20,
        max_events_per_turn=256,
    )
    session = await whole.client.create_session(owner="me", policy=policy)
    output = await session.tick(
        "write", tool=vagus.ToolCall(tool_name="fs.write", input={"path": "b.txt", "content": "hi"})
    )
    assert output.reason == "awaiting_approval"

    async def one() -> bool:
        return len(await whole.client.approvals(session.id)) == 1

    await eventually(one)
    ticket = (await whole.client.approvals(session.id))[0]
    await whole.client.approve(ticket.approval_id, actor="boss")
    path = whole.root / "sessions" / session.id / "b.txt"

    async def ran() -> bool:
        return path.exists() and kinds(await session.read_events(limit=1000))[-1] == "P:sleep"

    await eventually(ran)
    with pytest.raises(vagus.ApprovalNotPending):
        await whole.client.approve(ticket.approval_id, actor="boss")


async def test_a_scripted_model_makes_two_calls_in_one_tick(
    broker: EmbeddedServer, subjects: Subjects, tmp_path: Path
) -> None:
    def call(name: str, path: str) -> dict[str, object]:
        return {
            "type": "tool_call",
            "call": {"call_id": name, "tool_name": "fs.write", "input": {"path": path, "content": "x"}},
        }

    script = tmp_path / "script.json"
    script.write_text(
        json.dumps({"*": [{"directives": [call("a", "1"), call("b", "2")], "stop_reason": "tool_call"}]})
    )
    async with system(broker.url, subjects, tmp_path, provider=f"scripted:{script}") as whole:
        session = await whole.client.create_session(owner="me", policy=OPEN)
        output = await session.tick("go")
        assert [r.status for r in output.tool_results] == ["ok", "ok"]
        again = await session.tick("go on")
        assert again.reason == "error"
        assert "ran out" in (again.error or "")


async def test_a_fork_inherits_and_a_merged_branch_is_read_only(whole: System) -> None:
    session = await whole.client.create_session(owner="me", policy=OPEN)
    await session.tick("one")
    await session.create_branch("side")
    out = await session.tick("two", branch="side")
    assert out.last_sequence > 1
    lineage = await session.read_events(branch="side", lineage=True, limit=1000)
    assert [e.branch_id for e in lineage if e.kind.type == "DeliberationProposed"] == ["main", "side"]
    merged = await session.merge_branch("side")
    assert merged.source_branch == "side"
    with pytest.raises(vagus.BranchReadOnly, match="merged into main and is read-only"):
        await session.tick("three", branch="side")
    assert (await session.verify()).ok


async def test_a_restarted_kernel_goes_on_where_the_log_ends(whole: System) -> None:
    session = await whole.client.create_session(owner="me", policy=OPEN)
    before = await session.tick(
        "one", tool=vagus.ToolCall(tool_name="fs.write", input={"path": "x", "content": "1"})
    )
    await whole.services["kernel3"].drain()
    await whole.start("kernel", "second")
    after = await session.tick(
        "two", tool=vagus.ToolCall(tool_name="fs.write", input={"path": "x", "content": "2"})
    )
    assert after.state.progress == 0.24
    assert after.last_sequence > before.last_sequence
    assert (await session.verify()).ok


async def test_a_repeated_tick_is_answered_from_the_log(whole: System) -> None:
    session = await whole.client.create_session(owner="me", policy=OPEN)
    first = await session.tick("one", command_id="c-1")
    await session.tick("two")
    again = await session.tick("one", command_id="c-1")
    assert again == first


async def test_two_kernels_share_the_sessions(whole: System) -> None:
    await whole.start("kernel", "second")
    async with anyio.create_task_group() as tasks:

        async def work(number: int) -> None:
            session = await whole.client.create_session(owner="me", policy=OPEN, session_id=f"w{number}")
            for tick in range(3):
                assert (await session.tick(f"t{tick}")).reason == "completed"
            assert (await session.verify()).ok

        for number in range(8):
            tasks.start_soon(work, number)


async def test_a_session_id_that_is_none_is_refused(whole: System) -> None:
    for bad in ("a/b", "a.b", "a b", "..", "x" * 65, "é", ""):
        with pytest.raises(vagus.InvalidId):
            await whole.client.create_session(owner="me", policy=OPEN, session_id=bad)


async def test_routing_to_a_missing_script_ends_the_tick_in_order(whole: System) -> None:
    routing = ModelRouting(primary_model="scripted:/nowhere.json")
    session = await whole.client.create_session(owner="me", policy=OPEN, model_routing=routing)
    output = await session.tick("x")
    assert output.reason == "error"
    assert "cannot read" in (output.error or "")
