"""Ticks of a kernel with a world around it: what they meet on their way in, and when they come again."""

from collections.abc import Iterator

import anyio
import msgspec
import pytest
from msgspec.structs import replace

from tests.kit.warp import warped
from tests.kit.world import Process, World
from vagus.contract.events import StateEstimated
from vagus.contract.sessions import TickOutput
from vagus.contract.state import AgentStateVector
from vagus_kernel.middleware import Middleware, Next, TurnContext


@pytest.fixture
def world() -> Iterator[World]:
    made = World()
    patch = warped(made.clock, 10**6)
    yield made
    patch.undo()


def started(world: World, *middlewares: Middleware) -> Process:
    """A kernel with a session."""
    kernel = Process(world, middlewares)
    world.create()
    world.settle_all(kernel)
    return kernel


def estimates(world: World) -> list[AgentStateVector]:
    return [event.kind.state for event in world.events() if isinstance(event.kind, StateEstimated)]


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
    first, again = [msgspec.json.decode(reply.ok, type=TickOutput) for reply in world.replies["t"]]
    assert again == first
    [refusal] = world.replies["late"]
    assert refusal.error is not None
    assert refusal.error.type == "BranchReadOnly"
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
