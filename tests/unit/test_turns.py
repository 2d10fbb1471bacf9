"""Ticks of a kernel with a world around it: what they meet on their way in, and when they come again."""

import anyio
import msgspec
import pytest
from msgspec.structs import replace

from tests.kit.checking import check_world
from tests.kit.world import Process, World
from vagus.contract import limits
from vagus.contract.events import Custom, EventRecord, StateEstimated
from vagus.contract.outcome import TURN_STARTED
from vagus.contract.sessions import TickOutput
from vagus.contract.state import AgentStateVector
from vagus_kernel.middleware import Middleware, Next, TurnContext


def started(world: World, *middlewares: Middleware) -> Process:
    """A kernel with a session."""
    kernel = Process(world, middlewares)
    world.create()
    world.settle_all(kernel)
    return kernel


def estimates(world: World) -> list[AgentStateVector]:
    return [event.kind.state for event in world.events() if isinstance(event.kind, StateEstimated)]


def outputs(world: World, command_id: str) -> list[TickOutput]:
    """What the tick was answered with, each time."""
    return [msgspec.json.decode(reply.ok, type=TickOutput) for reply in world.replies[command_id]]


def test_a_tick_that_has_ended_is_answered_though_its_branch_is_merged_since(world: World) -> None:
    kernel = started(world)
    world.command("CreateBranch", {"branch": "b"}, "fork")
    world.settle_all(kernel)
    world.command("Tick", {"objective": "text"}, "t", "b")
    world.settle_all(kernel)
    world.command("MergeBranch", {"branch": "b"}, "merge")
    world.settle_all(kernel)
    world.command("Tick", {"objective": "text"}, "t", "b", copy=True)
    world.command("Tick", {"objective": "text"}, "late", "b")
    world.settle_all(kernel)
    first, again = outputs(world, "t")
    assert again == first
    [refusal] = world.replies["late"]
    assert refusal.error is not None
    assert refusal.error.type == "BranchReadOnly"
    kernel.kill()


def test_a_tick_that_has_ended_is_answered_however_often_it_was_delivered(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "MAX_DELIVERIES", 5)
    kernel = started(world)
    world.command("Tick", {"objective": "text"}, "t")
    world.settle_all(kernel)
    world.command("Tick", {"objective": "text"}, "t", copy=True)
    world.inbox[-1].deliveries = 4
    world.settle_all(kernel)
    first, again = outputs(world, "t")
    assert again == first
    assert world.dead == []
    kernel.kill()


async def wait(ctx: TurnContext, proceed: Next) -> TickOutput:
    await anyio.sleep(1.0)
    return await proceed(ctx)


async def hurry(ctx: TurnContext, proceed: Next) -> TickOutput:
    """Take its time, and change one thing."""
    ctx.state = replace(ctx.state, uncertainty=0.25)
    return await wait(ctx, proceed)


@pytest.mark.parametrize("middleware", [wait, hurry])
def test_what_is_added_to_a_budget_while_middlewares_wait_is_kept(
    world: World, middleware: Middleware
) -> None:
    kernel = started(world, middleware)
    world.command("Tick", {"objective": "text"}, "t")
    world.command("ExtendBudget", {"tokens": 1000}, "more")
    world.settle_all(kernel)
    assert [state.budget.tokens_remaining for state in estimates(world)] == [121_000, 121_000]
    assert estimates(world)[0].uncertainty == (0.25 if middleware is hurry else 0.7)
    kernel.kill()


@pytest.mark.parametrize("times", [1, 2])
def test_a_tick_that_is_cancelled_while_middlewares_run_once_more_has_begun(world: World, times: int) -> None:
    first = started(world, wait)
    world.command("Tick", {"objective": "do it", "proposed_tool": {"tool_name": "do"}}, "t")
    while not world.tools:
        step(world, first)
    first.kill()
    world.elapse(limits.ACK_WAIT_S)
    second = Process(world, (wait,))
    step(world, second, seconds=0.1)
    for number in range(times):
        world.command("Cancel", {}, f"cancel-{number}")
    world.settle_all(second)
    assert [output.reason for output in outputs(world, "t")] == ["cancelled"]
    second.kill()


@pytest.mark.parametrize("middlewares", [(), (wait,)], ids=["plain", "wrapped"])
def test_a_tick_that_was_cancelled_before_it_began_never_begins(
    world: World, middlewares: tuple[Middleware, ...]
) -> None:
    """Another kernel, which was given it too, finds on the log that it was."""
    kernel = started(world, *middlewares)
    world.command("Tick", {"objective": "do it", "proposed_tool": {"tool_name": "do"}}, "t")
    world.command("Tick", {"objective": "text"}, "u")
    step(world, kernel, seconds=0.1)
    world.command("Cancel", {}, "cancel")
    step(world, kernel, seconds=0.1)
    assert [reply.error and reply.error.message for reply in world.replies["u"]] == [
        "cancelled before it began"
    ]
    kernel.kill()
    other = Process(world, middlewares)
    for command_id in ("t", "u"):
        world.command("Tick", world.sent[command_id]["tick"], command_id, copy=True)
    world.elapse(limits.ACK_WAIT_S)
    world.settle_all(other)
    assert not any(is_begin(event) for event in world.events() if event.correlation_id == "u")
    assert all(reply.error is not None for reply in world.replies["u"])
    assert sum(is_begin(event) for event in world.events()) == (0 if middlewares else 1)
    check_world(world)
    other.kill()


def is_begin(event: EventRecord) -> bool:
    return isinstance(event.kind, Custom) and event.kind.event_type == TURN_STARTED


def step(world: World, kernel: Process, *, seconds: float = 1.0) -> None:
    """Deliver and judge what there is, and let a little time pass."""
    for queued in world.available():
        world.deliver(queued, kernel)
    kernel.step(60)
    while world.gate:
        world.judge()
    world.elapse(seconds)
