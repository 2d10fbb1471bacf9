"""Everything that can be asked of a session besides an ordinary tick."""

from collections.abc import AsyncIterator
from pathlib import Path

import anyio
import pytest

import vagus
from tests.kit.services import stored
from tests.kit.system import System, system
from tests.kit.waiting import eventually
from vagus.contract.extensions import GuardDecision
from vagus.contract.sessions import TickOutput
from vagus.contract.state import BudgetState
from vagus.contract.subjects import Subjects
from vagus.runtime.embedded import EmbeddedServer
from vagus_kernel.middleware import Next, TurnContext, block

OPEN = vagus.PolicySet(
    allow_capabilities=("*",),
    gate_capabilities=("fs:write:/session/gated*",),
    max_tool_runtime_secs=20,
    max_events_per_turn=256,
)


@pytest.fixture
async def whole(broker: EmbeddedServer, subjects: Subjects, tmp_path: Path) -> AsyncIterator[System]:
    async with system(broker.url, subjects, tmp_path, allowed_commands="sleep,sh", idle_s=1) as running:
        yield running


def write(path: str, content: str = "x") -> vagus.ToolCall:
    return vagus.ToolCall(tool_name="fs.write", input={"path": path, "content": content})


def sleeping(seconds: float) -> vagus.ToolCall:
    return vagus.ToolCall(tool_name="shell.exec", input={"command": "sleep", "args": [str(seconds)]})


async def seen(session: vagus.Session, branch: str = "main") -> list[str]:
    return [event.kind.type for event in await session.read_events(limit=2000, branch=branch)]


async def started(session: vagus.Session) -> bool:
    return "ToolCallStarted" in await seen(session)


async def unsettled(whole: System, number: int) -> bool:
    """Whether so many inputs wait or are held."""
    return await stored(whole.bus, whole.subjects.named("INBOX")) == number


async def test_a_running_tool_is_cancelled_and_the_tick_says_so(whole: System) -> None:
    session = await whole.client.create_session(owner="me", policy=OPEN)
    outputs: list[TickOutput] = []
    async with anyio.create_task_group() as tasks:

        async def tick() -> None:
            outputs.append(await session.tick("sleep", tool=sleeping(15)))

        tasks.start_soon(tick)
        await eventually(lambda: started(session))
        began = anyio.current_time()
        await session.cancel()
    assert anyio.current_time() - began < 14  # the tool would have slept for 15
    assert outputs[0].reason == "cancelled"
    assert outputs[0].tool_results[0].status == "cancelled"
    assert (await session.tick("again")).reason == "completed"


async def test_a_waiting_tick_is_cancelled_before_it_begins(whole: System) -> None:
    session = await whole.client.create_session(owner="me", policy=OPEN)
    async with anyio.create_task_group() as tasks:

        async def first() -> None:
            output = await session.tick("first", tool=sleeping(15), command_id="first")
            assert output.reason == "cancelled"

        async def second() -> None:
            with pytest.raises(vagus.Refused, match="cancelled before it began"):
                await session.tick("second", command_id="second")

        tasks.start_soon(first)
        await eventually(lambda: started(session))
        tasks.start_soon(second)
        await eventually(lambda: unsettled(whole, 2))
        await session.cancel("second")
        await session.cancel("first")


async def test_the_sixty_sixth_tick_is_refused_as_busy(whole: System) -> None:
    session = await whole.client.create_session(owner="me", policy=OPEN)
    busy: list[int] = []
    async with anyio.create_task_group() as tasks:

        async def tick(number: int) -> None:
            tool = sleeping(15) if number == 0 else None
            try:
                await session.tick(f"t{number}", tool=tool, command_id=f"t{number}")
            except vagus.Busy:
                busy.append(number)

        tasks.start_soon(tick, 0)
        await eventually(lambda: started(session))
        for number in range(1, 67):
            tasks.start_soon(tick, number)
        await eventually(lambda: len(busy) == 2)
        await session.cancel("t0")
    assert len(busy) == 2
    assert (await session.verify()).ok


async def test_a_fork_in_the_past_has_the_state_of_then(whole: System) -> None:
    session = await whole.client.create_session(owner="me", policy=OPEN)
    one = await session.tick("one", tool=write("a"))
    await session.tick("two", tool=write("b"))
    await session.create_branch("then", fork_sequence=one.last_sequence)
    out = await session.tick("three", tool=write("c"), branch="then")
    assert out.state.progress == 0.24
    await session.create_branch("inside", fork_sequence=one.last_sequence + 8)
    inside = await session.tick("four", tool=write("d"), branch="inside")
    assert inside.state.progress == 0.24
    assert (await session.verify()).ok


async def test_a_checkpoint_is_restored(whole: System) -> None:
    session = await whole.client.create_session(owner="me", policy=OPEN)
    one = await session.tick("one", tool=write("a"))
    await session.tick("two", tool=write("b"))
    events = await session.read_events(limit=1000)
    checkpoint = next(e.kind for e in events if e.kind.type == "CheckpointCreated")
    await session.restore(checkpoint.checkpoint_id)
    after = await session.tick("three", tool=write("c"))
    assert after.state.progress == 0.24
    assert one.state.progress == 0.12
    with pytest.raises(vagus.CheckpointNotFound):
        await session.restore("no-such")


async def test_a_closed_session_is_read_only(whole: System) -> None:
    session = await whole.client.create_session(owner="me", policy=OPEN)
    await session.close("enough")
    with pytest.raises(vagus.BranchReadOnly, match="closed"):
        await session.tick("more")
    assert (await seen(session))[-1] == "SessionClosed"


async def test_closing_with_cancel_ends_what_runs_and_withdraws_what_waits(whole: System) -> None:
    session = await whole.client.create_session(owner="me", policy=OPEN)
    await session.tick("ask", tool=write("gated.txt"))
    await session.create_branch("b")
    async with anyio.create_task_group() as tasks:

        async def tick() -> None:
            assert (await session.tick("sleep", tool=sleeping(15), branch="b")).reason == "cancelled"

        tasks.start_soon(tick)

        async def started() -> bool:
            return "ToolCallStarted" in await seen(session, "b")

        await eventually(started)
        with pytest.raises(vagus.Refused, match=r"in progress|pending"):
            await session.close("no")
        await session.close("yes", cancel=True)
    assert (await seen(session))[-1] == "SessionClosed"

    async def withdrawn() -> bool:
        return not await whole.client.approvals(session.id)

    await eventually(withdrawn)


async def test_a_spent_budget_ends_ticks_until_it_is_extended(whole: System) -> None:
    budget = BudgetState(tokens_remaining=700)
    session = await whole.client.create_session(owner="me", policy=OPEN, budget=budget)
    await session.tick("one", tool=write("a"))
    with pytest.raises(vagus.BudgetExceeded, match="tokens_remaining"):
        await session.tick("two")
    await session.extend_budget(tokens=10_000)
    assert (await session.tick("three")).reason == "completed"


async def test_creating_by_an_existing_id_needs_the_same_policy(whole: System) -> None:
    session = await whole.client.create_session(owner="me", policy=OPEN, session_id="twice")
    again = await whole.client.create_session(owner="you", policy=OPEN, session_id="twice")
    assert again.id == session.id
    with pytest.raises(vagus.Conflict, match="another policy"):
        await whole.client.create_session(
            owner="me", policy=vagus.PolicySet.preset("pro"), session_id="twice"
        )


async def test_facts_from_outside_are_recorded_and_the_kernels_own_are_refused(whole: System) -> None:
    session = await whole.client.create_session(owner="me", policy=OPEN)
    await session.record_event({"type": "ExternalSignal", "signal_type": "bell", "data": {"n": 1}})
    assert (await seen(session))[-1] == "ExternalSignal"
    with pytest.raises(vagus.Refused):
        await session.record_event({"type": "ApprovalResolved", "approval_id": "x", "decision": "approved"})
    with pytest.raises(vagus.Refused):
        await session.record_event({"type": "Custom", "event_type": "vagus.policy_set", "data": {}})


async def test_a_session_that_left_memory_goes_on(whole: System) -> None:
    session = await whole.client.create_session(owner="me", policy=OPEN)
    for number in range(30):
        await session.tick(f"t{number}")
    await whole.services["kernel3"].drain()
    await whole.start("kernel", "second")
    out = await session.tick("later", tool=write("z"))
    assert out.state.progress == 0.12
    assert (await session.verify()).ok


class NoShell:
    name = "no_shell"

    async def on_tool_call(self, ctx: TurnContext, call: vagus.ToolCall) -> GuardDecision:
        return block("no shell today") if call.tool_name == "shell.exec" else GuardDecision()


async def guarded(ctx: TurnContext, proceed: Next) -> TickOutput:
    ctx.guards.append(NoShell())
    if ctx.input.objective == "stop":
        raise vagus.Refused("stopped by middleware")
    return await proceed(ctx)


async def test_middlewares_add_guards_and_may_stop_a_turn(
    broker: EmbeddedServer, subjects: Subjects, tmp_path: Path
) -> None:
    middlewares = f"{__name__}:guarded"
    async with system(broker.url, subjects, tmp_path, middlewares=middlewares) as whole:
        session = await whole.client.create_session(owner="me", policy=OPEN)
        out = await session.tick("go", tool=sleeping(1))
        assert out.text == "no shell today"
        assert out.tool_results == ()
        with pytest.raises(vagus.Refused, match="stopped by middleware"):
            await session.tick("stop")
        assert (await session.tick("fine", tool=write("a"))).tool_results[0].status == "ok"
        events = await session.read_events(limit=500)
        assert "no_shell.hard_stop" in [getattr(e.kind, "event_type", "") for e in events]
