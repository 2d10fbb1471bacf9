"""A verdict goes straight to the kernel that asked; when it gets lost, it is asked for again."""

from tests.kit.straight import asked, ends, stored
from tests.kit.world import SESSION, SUBJECTS, Process, World
from vagus.contract import limits
from vagus.contract.messages import ANSWER_TO, Role
from vagus.runtime.wire import Message


def test_it_is_acted_on_and_nothing_of_it_is_stored(world: World) -> None:
    kernel = asked(world)
    request, headers = world.gate[0]
    assert (request.attempt, headers[ANSWER_TO]) == (1, kernel.instance)
    world.judge()
    world.hand_out(kernel)
    assert len(world.tools) == 1
    assert stored(world, Role.VERDICT) == 0
    ends(world, kernel)


def test_one_that_gets_lost_is_asked_for_again_and_comes_by_the_inbox(world: World) -> None:
    kernel = asked(world)
    world.lose_next = 1
    world.judge()
    world.hand_out(kernel)
    assert not world.tools
    world.elapse(limits.EFFECT_RETRY_S + 1)
    world.hand_out(kernel)
    request, headers = world.gate[0]
    assert (request.attempt, ANSWER_TO in headers) == (2, False)
    world.judge()
    assert stored(world, Role.VERDICT) == 1
    ends(world, kernel)


def test_both_ways_at_once_are_one_verdict(world: World) -> None:
    kernel = asked(world)
    world.elapse(limits.EFFECT_RETRY_S + 1)
    world.hand_out(kernel)
    assert len(world.gate) == 2
    world.judge()
    world.judge()
    world.hand_out(kernel)
    assert len(world.tools) == 1
    ends(world, kernel)


def test_who_takes_the_session_over_asks_at_once_as_another_attempt(world: World) -> None:
    first = asked(world)
    first.kill()
    world.judge()  # to nobody
    world.elapse(limits.ACK_WAIT_S)
    second = Process(world)
    before = world.clock.now
    world.hand_out(second)
    request, headers = world.gate[0]
    assert (request.attempt, ANSWER_TO in headers) == (2, False)
    assert world.clock.now - before < limits.EFFECT_RETRY_S
    ends(world, second)


def test_one_for_nobody_and_what_is_none_change_nothing(world: World) -> None:
    kernel = asked(world)
    before = len(world.commits())
    for subject, data in (
        (SUBJECTS.verdict(kernel.instance, "unknown"), b'{"effect_id":"e","tool_run_id":"r"}'),
        (SUBJECTS.verdict(kernel.instance, SESSION), b'{"effect_id":"e","tool_run_id":"r"}'),
        (SUBJECTS.verdict(kernel.instance, SESSION), b"not JSON"),
        (SUBJECTS.verdict(kernel.instance, SESSION), b"{}"),
    ):
        kernel.loop.call_soon(kernel.kernel.told, Message(subject, data))
    world.hand_out(kernel)
    assert len(world.commits()) == before
    assert list(kernel.kernel._actors) == [SESSION]
    world.judge()
    ends(world, kernel)
