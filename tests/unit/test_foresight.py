"""What is asked while a commit is on its way, and what waits until it stands."""

from collections.abc import Iterator

import pytest

from tests.kit.world import Process, World
from vagus.contract.events import Custom

MOST_STEPS = 2000


@pytest.fixture
def kernel(world: World) -> Iterator[Process]:
    """A kernel with a session."""
    made = Process(world)
    world.create()
    world.settle_all(made)
    yield made
    if made.alive:
        made.kill()


def granted(world: World) -> bool:
    """Whether the log says that a call may run."""
    return any(
        isinstance(event.kind, Custom) and event.kind.event_type == "vagus.call_granted"
        for event in world.events()
    )


def until_asked(world: World, kernel: Process, *, refused: int = 0) -> None:
    """Step until a runner is asked, one step at a time."""
    for _ in range(MOST_STEPS):
        for queued in world.available():
            world.deliver(queued, kernel)
        kernel.step()
        if world.tools:
            return
        while world.gate:
            world.judge()
            world.refuse_commits = refused  # of those that come next
    raise AssertionError("no runner was asked")


@pytest.mark.parametrize(("tool", "before"), [("look", True), ("do", False)])
def test_only_a_tool_that_reads_is_asked_before_its_grant_stands_on_the_log(
    world: World, kernel: Process, tool: str, before: bool
) -> None:
    world.command("Tick", {"objective": tool, "proposed_tool": {"tool_name": tool, "input": {}}}, "t")
    until_asked(world, kernel)
    assert granted(world) is not before


def test_it_is_asked_once_and_its_tick_ends(world: World, kernel: Process) -> None:
    world.command("Tick", {"objective": "look", "proposed_tool": {"tool_name": "look", "input": {}}}, "t")
    until_asked(world, kernel)
    kernel.step(100)
    assert len(world.tools) == 1
    world.settle_all(kernel)
    assert len(world.replies["t"]) == 1
    world.check(kernel)


def test_of_one_that_was_asked_for_a_commit_that_failed_nothing_is_left(
    world: World, kernel: Process
) -> None:
    """The kernel dies with it: the next one asks anew, and the first answer is nobody's."""
    world.command("Tick", {"objective": "look", "proposed_tool": {"tool_name": "look", "input": {}}}, "t")
    until_asked(world, kernel, refused=1)
    (asked, _) = world.tools[0]
    kernel.kill()
    assert not granted(world)
    world.refuse_commits = 0
    world.run_tool()
    world.finish_tool(asked.tool_run_id)
    world.elapse(10)
    second = Process(world)
    world.settle_all(second)
    assert len(world.replies["t"]) == 1
    world.check(second)
    second.kill()
