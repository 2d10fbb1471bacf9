"""What is due at a time, in a world whose time is the test's: kernels die, and it happens all the same."""

from collections.abc import Iterator

import msgspec
import pytest

from tests.kit.warp import warped
from tests.kit.world import SESSION, Process, World
from vagus.contract import limits
from vagus.contract.clock import parse, plus
from vagus.contract.commands import Tick
from vagus.contract.events import EventRecord, RunErrored, RunStarted, ToolCallFailed
from vagus.contract.messages import Role
from vagus.contract.schedules import FIRED_HEADER
from vagus.contract.sessions import TickInput, TickOutput
from vagus.runtime import clock
from vagus_kernel.settings import KernelSettings


@pytest.fixture
def world() -> Iterator[World]:
    made = World()
    patch = warped(made.clock, 10**6)
    patch.setattr(clock, "plus", lambda seconds: plus(clock.now(), seconds))
    yield made
    patch.undo()


@pytest.fixture
def kernel(world: World) -> Process:
    """A kernel with a session."""
    first = Process(world)
    world.create()
    world.settle_all(first)
    return first


def work(world: World, process: Process, seconds: int = 1) -> None:
    """Let time pass in which messages are delivered, and nobody runs a tool."""
    for _ in range(seconds):
        for queued in world.available():
            world.deliver(queued, process)
        process.step(60)
        while world.gate:
            world.judge()
        world.elapse(1.0)


def failures(world: World) -> list[EventRecord]:
    return [event for event in world.events() if isinstance(event.kind, ToolCallFailed)]


@pytest.mark.parametrize("away_s", [0, 10, 1000])
def test_a_tools_deadline_stands_though_the_kernel_that_set_it_dies(
    world: World, kernel: Process, away_s: int
) -> None:
    world.command("Tick", {"objective": "do"}, "t")
    work(world, kernel, 2)
    request, _ = world.tools[0]
    kernel.kill()
    world.elapse(away_s)
    second = Process(world)
    work(world, second, 60)
    (failed,) = failures(world)
    late_s = (parse(failed.timestamp) - parse(request.deadline)) / 1e9
    assert 0 < late_s <= max(limits.DEADLINE_GRACE_S, away_s) + 5
    (reply,) = world.replies["t"]
    assert msgspec.json.decode(reply.ok, type=TickOutput).tool_results[0].status == "failed"  # it never ran
    second.kill()


def test_a_turns_limit_stands_though_the_kernel_that_began_it_dies(world: World) -> None:
    settings = KernelSettings(turn_timeout_s=20)
    first = Process(world, settings=settings)
    world.create()
    world.settle_all(first)
    world.command("Tick", {"objective": "do"}, "t")
    work(world, first, 15)
    first.kill()
    second = Process(world, settings=settings)
    work(world, second, 15)
    (begun,) = [event for event in world.events() if isinstance(event.kind, RunStarted)]
    (ended,) = [event for event in world.events() if isinstance(event.kind, RunErrored)]
    assert 20 <= (parse(ended.timestamp) - parse(begun.timestamp)) / 1e9 <= 25
    second.kill()


def fire(world: World, number: int) -> None:
    """One tick of a schedule, as the mover stores it."""
    tick = Tick(command_id=f"w.{number}", session_id=SESSION, tick=TickInput(objective="text"))
    world.tell(Role.COMMAND, tick, tick.command_id, **{FIRED_HEADER: "w"})


def ran(world: World) -> list[str]:
    found = dict.fromkeys(event.correlation_id or "" for event in world.events())
    return [command_id for command_id in found if command_id.startswith("w.")]


def test_of_the_ticks_of_a_schedule_at_most_one_waits(world: World, kernel: Process) -> None:
    world.command("Tick", {"objective": "do"}, "t")
    work(world, kernel, 2)
    for number in range(5):
        fire(world, number)
    work(world, kernel, 2)
    world.settle_all(kernel)
    assert ran(world) == ["w.0"]
    fire(world, 5)
    world.settle_all(kernel)
    assert ran(world) == ["w.0", "w.5"]
    assert world.dead == []
    kernel.kill()


def test_a_scheduled_tick_that_is_refused_is_found_among_the_dead_letters(
    world: World, kernel: Process
) -> None:
    world.command("Tick", {"objective": "do"}, "t")
    for number in range(limits.QUEUED_TICKS):
        world.command("Tick", {"objective": "text"}, f"q{number}")
    work(world, kernel, 2)
    fire(world, 1)
    world.settle_all(kernel)
    ((subject, _, headers),) = world.dead
    assert subject.endswith(f".dead.kernel.{SESSION}")
    assert headers["Vagus-Reason"].startswith("schedule w: Busy: ")
    assert ran(world) == []
    kernel.kill()


def test_a_scheduled_tick_that_comes_again_after_it_ran_is_done(world: World, kernel: Process) -> None:
    fire(world, 1)
    world.settle_all(kernel)
    world.elapse(limits.DUPLICATE_WINDOW_S + 1)
    fire(world, 1)
    world.settle_all(kernel)
    assert ran(world) == ["w.1"]
    assert world.dead == []
    kernel.kill()
