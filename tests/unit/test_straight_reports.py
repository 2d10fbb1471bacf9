"""A report is handed over to the kernel that waits for it; when that does not take it, the inbox does."""

import msgspec

from tests.kit.world import SESSION, SUBJECTS, Process, World
from vagus.contract import limits
from vagus.contract.messages import Receipt, Role
from vagus.runtime.wire import Message


def running(world: World) -> tuple[Process, str]:
    """A kernel whose call is running, and the call's run."""
    kernel = Process(world)
    world.create()
    world.settle_all(kernel)
    world.command("Tick", {"objective": "do", "proposed_tool": {"tool_name": "do", "input": {}}}, "t")
    go(world, kernel)
    world.judge()
    go(world, kernel)
    world.run_tool()
    (run,) = world.running
    return kernel, run


def go(world: World, kernel: Process) -> None:
    for queued in world.available():
        world.deliver(queued, kernel)
    kernel.step(60)


def stored(world: World) -> int:
    """Reports that came by the inbox."""
    return sum(f".{Role.REPORT}." in queued.subject for queued in world.inbox)


def ends(world: World, kernel: Process) -> None:
    """The tick ends, once, with the tool's one result."""
    world.settle_all(kernel)
    assert [reply.error for reply in world.replies["t"]] == [None]
    assert set(world.runs.values()) == {1}
    completed = [event for event in world.events() if event.kind.type == "ToolCallCompleted"]  # type: ignore[union-attr]
    assert len(completed) == 1
    world.check(kernel)
    kernel.kill()


def test_one_is_taken_when_the_log_has_it_and_nothing_of_it_is_stored(world: World) -> None:
    kernel, run = running(world)
    before = len(world.commits())
    world.finish_tool(run)
    assert list(world.handed) == [run]
    go(world, kernel)
    assert not world.handed
    assert len(world.commits()) > before
    assert stored(world) == 0
    ends(world, kernel)


def test_one_that_gets_lost_comes_by_the_inbox(world: World) -> None:
    kernel, run = running(world)
    world.lose_next = 1
    world.finish_tool(run)
    go(world, kernel)
    assert list(world.handed) == [run]
    world.elapse(limits.HAND_OVER_S)
    assert stored(world) == 1
    ends(world, kernel)


def test_one_whose_receipt_gets_lost_is_late_by_the_inbox(world: World) -> None:
    kernel, run = running(world)
    world.finish_tool(run)
    world.lose_next = 1
    go(world, kernel)
    commits = len(world.commits())
    assert list(world.handed) == [run]
    world.elapse(limits.HAND_OVER_S)
    go(world, kernel)
    assert stored(world) == 1
    assert len(world.commits()) == commits
    ends(world, kernel)


def test_who_dies_with_it_has_it_handled_by_the_next(world: World) -> None:
    first, run = running(world)
    world.finish_tool(run)
    first.step(2)
    first.kill()
    world.elapse(limits.ACK_WAIT_S)
    assert stored(world) == 1
    ends(world, Process(world))


def test_who_gives_the_session_back_refuses_it(world: World) -> None:
    first, run = running(world)
    world.finish_tool(run)
    (actor,) = first.kernel._actors.values()
    actor.stop()
    go(world, first)
    assert not world.handed, "refused at once: nobody waits for a receipt that does not come"
    assert stored(world) == 1
    first.kill()
    world.elapse(limits.ACK_WAIT_S)
    ends(world, Process(world))


def test_who_has_lost_the_session_refuses_it(world: World) -> None:
    first, run = running(world)
    world.elapse(limits.ACK_WAIT_S)
    second = Process(world)
    go(world, second)
    world.processes.remove(
        second
    )  # the report goes to the first alone, which believes that the session is its
    world.finish_tool(run)
    first.step(200)
    assert not world.handed
    assert stored(world) == 1
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
    go(world, kernel)
    for reply in ("", SUBJECTS.inbox(Role.COMMAND, SESSION)):  # where the kernel does not speak
        message = Message(SUBJECTS.report(kernel.instance, "unknown"), b"", {}, reply)
        kernel.loop.call_soon(kernel.kernel.handed, message)
    go(world, kernel)
    assert len(world.inbox) == 2, "the commands of this test"
    receipts = [msgspec.json.decode(data, type=Receipt) for data in world.receipts]
    assert receipts == [Receipt(taken=False)] * 4
    assert len(world.commits()) == before
    world.finish_tool(run)
    ends(world, kernel)
