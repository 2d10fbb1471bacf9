"""Kernels that drain give their inputs back; that is no sign of anything wrong with these."""

from collections.abc import Iterator

import pytest

from tests.kit.warp import warped
from tests.kit.world import Process, World
from vagus.contract import limits


@pytest.fixture
def world() -> Iterator[World]:
    world = World()
    patch = warped(world.clock, limits.MAX_DELIVERIES)
    yield world
    patch.undo()


def go(world: World, kernel: Process) -> None:
    """Deliver what there is, and let the gate and the runner take what they are asked for."""
    for _ in range(3):
        world.hand_out(kernel)
        while world.gate:
            world.judge()
        while world.tools:
            world.run_tool()


def begin(world: World) -> Process:
    """A turn whose tool runs, and one that waits behind it."""
    kernel = Process(world)
    world.create()
    world.settle_all(kernel)
    for command_id in ("first", "second"):
        world.command(
            "Tick", {"objective": "do", "proposed_tool": {"tool_name": "do", "input": {}}}, command_id
        )
    go(world, kernel)
    assert len(world.running) == 1
    return kernel


def test_a_long_turn_and_what_waits_for_it_survive_any_number_of_drains(world: World) -> None:
    kernel = begin(world)
    for _ in range(3 * limits.MAX_DELIVERIES):
        kernel.drain()
        kernel = Process(world)
        go(world, kernel)
        assert len(world.running) == 1
    assert max(queued.deliveries for queued in world.inbox) > 3 * limits.MAX_DELIVERIES
    world.settle_all(kernel)
    world.check(kernel)
    assert world.dead == []
    assert set(world.runs.values()) == {1}
    assert [reply.error for key in ("first", "second") for reply in world.replies[key]] == [None, None]


def test_the_next_kernel_does_not_ask_again_for_a_tool_that_runs(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not even when the server has forgotten the former request."""
    kernel = begin(world)
    world.beat()
    go(world, kernel)
    monkeypatch.setattr(limits, "DUPLICATE_WINDOW_S", 1.0)
    kernel.drain()
    world.elapse(2.0)
    kernel = Process(world)
    for queued in world.available():
        world.deliver(queued, kernel)
    kernel.step(60)
    assert [type(record.kind).__name__ for record in world.events()].count("SessionResumed") == 1
    assert not world.tools
    world.settle_all(kernel)
    world.check(kernel)
    assert world.dead == []


def test_an_input_that_ends_its_kernels_is_given_up_however_often_it_was_given_back_before(
    world: World,
) -> None:
    kernel = begin(world)
    for _ in range(limits.MAX_DELIVERIES):
        kernel.drain()
        kernel = Process(world)
        go(world, kernel)
    for _ in range(limits.MAX_DELIVERIES - 1):
        assert world.dead == []
        kernel.kill()
        world.elapse(limits.ACK_WAIT_S)
        kernel = Process(world)
        go(world, kernel)
    assert {subject for subject, _, _ in world.dead} == {"vagus.dead.kernel.s"}
    world.settle_all(kernel)
    world.check(kernel)


def test_kernels_that_take_a_session_from_each_other_wear_no_input_out(world: World) -> None:
    """Each finds that the other was first, which says nothing against what it has in hand."""
    kernels = (Process(world), Process(world))

    def write(kernel: Process, name: str) -> None:
        event = {"type": "ExternalSignal", "signal_type": "x", "data": {}}
        world.command("RecordEvent", {"event": event, "branch": "main"}, name)
        world.deliver(world.inbox[-1], kernel)
        kernel.step(60)
        assert world.inbox[-1].done

    world.create()
    world.settle_all(kernels[0])
    write(kernels[1], "other")
    world.command("Tick", {"objective": "text"}, "t")
    tick = world.inbox[-1]
    for number in range(2 * limits.MAX_DELIVERIES):
        late = kernels[number % 2]
        world.deliver(tick, late)
        late.step(60)
        assert not tick.done
        assert tick.held_since is None, "it was given back"
        write(late, f"e{number}")
        world.elapse(10.0)
    world.settle_all(late)
    world.check(late)
    assert world.dead == []
    assert [reply.error for reply in world.replies["t"]] == [None]


def test_a_kernel_that_stood_still_hears_the_runner_before_it_asks_again(world: World) -> None:
    kernel = begin(world)
    world.elapse(limits.EFFECT_RETRY_S + 1)
    world.beat()
    world.hand_out(kernel)
    assert not world.tools
    world.elapse(limits.EFFECT_RETRY_S + 1)
    kernel.step(60)
    assert len(world.tools) == 1, "without a sign it does ask"
    world.settle_all(kernel)
    world.check(kernel)
