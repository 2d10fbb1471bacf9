"""A report is handed over to the kernel that waits for it; when that does not take it, the inbox does."""

import msgspec

from tests.kit.straight import asked, ends, stored
from tests.kit.world import SESSION, SUBJECTS, Process, World
from vagus.contract import limits
from vagus.contract.messages import Receipt, Role
from vagus.runtime.wire import Message


def running(world: World) -> tuple[Process, str]:
    """A kernel whose call is running, and the call's run."""
    kernel = asked(world)
    world.judge()
    world.hand_out(kernel)
    world.run_tool()
    (run,) = world.running
    return kernel, run


def test_one_is_taken_when_the_log_has_it_and_nothing_of_it_is_stored(world: World) -> None:
    kernel, run = running(world)
    before = len(world.commits())
    world.finish_tool(run)
    assert list(world.handed) == [run]
    world.hand_out(kernel)
    assert not world.handed
    assert len(world.commits()) > before
    assert stored(world, Role.REPORT) == 0
    ends(world, kernel)


def test_one_that_gets_lost_comes_by_the_inbox(world: World) -> None:
    kernel, run = running(world)
    world.lose_next = 1
    world.finish_tool(run)
    world.hand_out(kernel)
    assert list(world.handed) == [run]
    world.elapse(limits.HAND_OVER_S)
    assert stored(world, Role.REPORT) == 1
    ends(world, kernel)


def test_one_whose_receipt_gets_lost_is_late_by_the_inbox(world: World) -> None:
    kernel, run = running(world)
    world.finish_tool(run)
    world.lose_next = 1
    world.hand_out(kernel)
    commits = len(world.commits())
    assert list(world.handed) == [run]
    world.elapse(limits.HAND_OVER_S)
    world.hand_out(kernel)
    assert stored(world, Role.REPORT) == 1
    assert len(world.commits()) == commits
    ends(world, kernel)


def test_who_dies_with_it_has_it_handled_by_the_next(world: World) -> None:
    first, run = running(world)
    world.finish_tool(run)
    first.step(2)
    first.kill()
    world.elapse(limits.ACK_WAIT_S)
    assert stored(world, Role.REPORT) == 1
    ends(world, Process(world))


def test_who_gives_the_session_back_refuses_it(world: World) -> None:
    first, run = running(world)
    world.finish_tool(run)
    (actor,) = first.kernel._actors.values()
    actor.stop()
    world.hand_out(first)
    assert not world.handed, "refused at once: nobody waits for a receipt that does not come"
    assert stored(world, Role.REPORT) == 1
    first.kill()
    world.elapse(limits.ACK_WAIT_S)
    ends(world, Process(world))


def test_who_has_lost_the_session_refuses_it(world: World) -> None:
    first, run = running(world)
    world.elapse(limits.ACK_WAIT_S)
    second = Process(world)
    world.hand_out(second)
    world.processes.remove(
        second
    )  # the report goes to the first alone, which believes that the session is its
    world.finish_tool(run)
    first.step(200)
    assert not world.handed
    assert stored(world, Role.REPORT) == 1
    first.kill()
    ends(world, second)


def test_what_is_no_report_and_one_for_nobody_are_refused(world: World) -> None:
    kernel, run = running(world)
    before = len(world.commits())
    report = {"effect_id": "e", "type": "report", "tool_run_id": "r"}
    for number, (session, data) in enumerate(
        (
            ("unknown", msgspec.json.encode(report)),
            (SESSION, b"not JSON"),
            (SESSION, b"{}"),
            (SESSION, msgspec.json.encode(report)),  # without the report
        )
    ):
        message = Message(SUBJECTS.report(kernel.instance, session), data, {}, f"_INBOX.receipt.{number}")
        kernel.loop.call_soon(kernel.kernel.handed, message)
    world.hand_out(kernel)
    for reply in ("", SUBJECTS.inbox(Role.COMMAND, SESSION)):  # where the kernel does not speak
        message = Message(SUBJECTS.report(kernel.instance, "unknown"), b"", {}, reply)
        kernel.loop.call_soon(kernel.kernel.handed, message)
    world.hand_out(kernel)
    assert len(world.inbox) == 2, "the commands of this test"
    receipts = [msgspec.json.decode(data, type=Receipt) for data in world.receipts]
    assert receipts == [Receipt(taken=False)] * 4
    assert len(world.commits()) == before
    world.finish_tool(run)
    ends(world, kernel)
