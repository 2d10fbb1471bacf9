"""Who is next, how far a share has come, and what a filter lets through."""

import pytest

from vagus.contract import limits
from vagus.contract.errors import InvalidId, Malformed
from vagus.contract.subjects import Subjects
from vagus.contract.subscriptions import Checkpoint, Filter, partition_of
from vagus.runtime.subscription.bench import Bench, Item
from vagus.runtime.subscription.position import Position

NAMES = Subjects()


def item(session: str, position: int, *, failures: int = 0, partition: int = 0) -> Item:
    return Item(
        session=session,
        branch="main",
        kind="UserMessage",
        partition=partition,
        position=position,
        sequence=position,
        event_id=f"{session}-{position}",
        line=b"{}",
        failures=failures,
    )


def filled(*sessions: str) -> tuple[Bench, list[Item]]:
    """A bench with an event for each name, in that order."""
    bench = Bench()
    items = [item(session, position) for position, session in enumerate(sessions, 1)]
    for each in items:
        bench.put(each)
    return bench, items


def ids(items: list[Item]) -> list[str]:
    return [each.event_id for each in items]


# The filter -----------------------------------------------------------------------------------------------


def test_an_empty_filter_asks_for_everything() -> None:
    assert Filter().subjects(NAMES) == ("vagus.event.*.*.*",)
    assert Filter().fits("s", "main", "UserMessage")


def test_a_filter_asks_for_every_combination() -> None:
    found = Filter(sessions=("a", "b"), kinds=("RunErrored", "RunFinished")).subjects(NAMES)
    assert found == (
        "vagus.event.a.*.RunErrored",
        "vagus.event.a.*.RunFinished",
        "vagus.event.b.*.RunErrored",
        "vagus.event.b.*.RunFinished",
    )


def test_a_filter_of_too_many_subjects_asks_for_more_and_sifts() -> None:
    sessions = tuple(f"s{number}" for number in range(limits.FILTER_SUBJECTS))
    wide = Filter(sessions=sessions, kinds=("RunErrored", "RunFinished"))
    assert wide.subjects(NAMES) == ("vagus.event.*.*.RunErrored", "vagus.event.*.*.RunFinished")
    assert wide.fits("s7", "main", "RunErrored")
    assert not wide.fits("s1000", "main", "RunErrored")


@pytest.mark.parametrize(
    ("session", "branch", "kind", "fits"),
    [
        ("a", "main", "RunErrored", True),
        ("b", "main", "RunErrored", False),
        ("a", "b", "RunErrored", False),
        ("a", "main", "RunFinished", False),
    ],
)
def test_an_event_must_fit_every_field(session: str, branch: str, kind: str, fits: bool) -> None:
    wanted = Filter(sessions=("a",), branches=("main",), kinds=("RunErrored",))
    assert wanted.fits(session, branch, kind) is fits


@pytest.mark.parametrize(
    "wrong", [{"sessions": ("a.b",)}, {"branches": ("*",)}, {"kinds": ("run.*",)}, {"kinds": ("",)}]
)
def test_what_would_be_another_subject_is_no_filter(wrong: dict[str, tuple[str, ...]]) -> None:
    with pytest.raises((InvalidId, Malformed)):
        Filter(**wrong)


def test_the_subject_of_an_event_tells_what_it_is() -> None:
    assert NAMES.event_of("vagus.event.s.main.UserMessage") == ("s", "main", "UserMessage")
    assert NAMES.event_of("vagus.event.s.main") is None
    assert NAMES.event_of("other.event.s.main.UserMessage") is None


def test_a_session_is_always_in_the_same_partition() -> None:
    assert partition_of("s1", 16) == 1
    assert {partition_of(f"s{number}", 4) for number in range(100)} == {0, 1, 2, 3}


# The bench ------------------------------------------------------------------------------------------------


def test_a_sessions_next_event_waits_for_the_one_before() -> None:
    bench, items = filled("a", "a", "b")
    assert ids(bench.take(1, 0)) == ["a-1"]
    assert ids(bench.take(1, 0)) == ["b-3"]
    assert bench.take(1, 0) == []
    bench.settle(items[0])
    assert ids(bench.take(1, 0)) == ["a-2"]


def test_a_batch_has_consecutive_events_of_each_session() -> None:
    bench, items = filled("a", "b", "a", "a", "b")
    assert ids(bench.take(4, 0)) == ["a-1", "a-3", "a-4", "b-2"]
    assert bench.take(4, 0) == []
    bench.settle(items[1])
    assert ids(bench.take(4, 0)) == ["b-5"]


def test_nobody_is_passed_over() -> None:
    bench, items = filled("a", "a", "a", "b", "c")
    assert ids(bench.take(2, 0)) == ["a-1", "a-2"]
    for each in items[:2]:
        bench.settle(each)
    assert ids(bench.take(3, 0)) == ["b-4", "c-5", "a-3"]


def test_what_failed_waits_and_its_session_with_it() -> None:
    bench, items = filled("a", "b", "a")
    bench.take(1, 0)
    bench.fail(items[0], due=5)
    assert bench.next_due() == 5
    assert ids(bench.take(9, 4)) == ["b-2"]
    assert ids(bench.take(9, 5)) == ["a-1"]
    assert items[0].failures == 1
    bench.settle(items[0])
    assert ids(bench.take(9, 5)) == ["a-3"]


def test_what_was_given_behind_the_failed_one_comes_again_behind_it() -> None:
    bench, items = filled("a", "a", "a", "a")
    bench.take(3, 0)
    bench.settle(items[0])
    bench.fail(items[1], due=1)
    assert not bench.in_hand(items[2])
    assert [each.failures for each in items] == [0, 1, 0, 0]
    assert ids(bench.take(9, 1)) == ["a-2"]
    bench.settle(items[1])
    assert ids(bench.take(9, 1)) == ["a-3", "a-4"]


def test_of_a_run_the_later_may_fail_before_the_earlier_is_done() -> None:
    bench, items = filled("a", "a")
    bench.take(2, 0)
    bench.fail(items[1], due=1)
    assert bench.take(9, 2) == []
    bench.settle(items[0])
    assert ids(bench.take(9, 2)) == ["a-2"]


def test_what_failed_in_a_batch_comes_alone() -> None:
    bench, items = filled("a", "b", "c")
    bench.take(2, 0)
    bench.fail(items[0], due=1)
    bench.fail(items[1], due=1)
    assert not bench.is_alone(0.5)
    assert ids(bench.take(9, 0.5)) == ["c-3"]
    assert bench.is_alone(1)
    assert [ids(bench.take(9, 1)) for _ in range(3)] == [["a-1"], ["b-2"], []]


def test_an_event_that_others_have_failed_comes_alone() -> None:
    bench = Bench()
    for each in (item("a", 1), item("a", 2, failures=2), item("a", 3)):
        bench.put(each)
    first = bench.take(9, 0)
    assert ids(first) == ["a-1"]
    bench.settle(first[0])
    second = bench.take(9, 0)
    assert ids(second) == ["a-2"]
    bench.settle(second[0])
    assert ids(bench.take(9, 0)) == ["a-3"]


def test_it_is_counted_what_is_here() -> None:
    bench, items = filled("a", "a", "b")
    assert (bench.held, bench.waiting) == (3, 3)
    bench.take(9, 0)
    assert (bench.held, bench.waiting) == (3, 0)
    bench.fail(items[0], due=1)
    bench.settle(items[2])
    assert (bench.held, bench.waiting) == (2, 2)
    bench.drop(0)
    assert (bench.held, bench.waiting) == (0, 0)
    assert bench.next_due() is None
    assert bench.take(9, 9) == []


def test_a_dropped_partition_keeps_what_is_in_hand_if_asked_to() -> None:
    bench = Bench()
    mine, later, other = item("a", 1, partition=1), item("a", 2, partition=1), item("b", 3, partition=2)
    for each in (mine, later, other):
        bench.put(each)
    bench.take(1, 0)
    bench.drop(1, keep_hand=True)
    assert (bench.hand_of(1), bench.held) == ([mine], 2)
    bench.settle(mine)
    assert ids(bench.take(9, 0)) == ["b-3"]
    bench.drop(2)
    assert not bench.in_hand(other)


def test_what_was_not_handed_out_after_all_is_next() -> None:
    bench, items = filled("a", "a")
    for each in reversed(bench.take(2, 0)):
        bench.put_back(each)
    assert ids(bench.take(2, 0)) == ["a-1", "a-2"]
    assert [each.failures for each in items] == [0, 0]


def test_a_session_whose_last_event_failed_takes_new_ones_behind_it() -> None:
    bench, items = filled("a")
    bench.take(1, 0)
    bench.fail(items[0], due=3)
    bench.put(item("a", 2))
    assert bench.take(9, 1) == []
    assert ids(bench.take(9, 3)) == ["a-1"]


# The position ---------------------------------------------------------------------------------------------


def test_a_share_goes_on_behind_what_it_has_looked_at() -> None:
    position = Position(Checkpoint(position=4))
    assert position.floor == 4
    assert not position.wants(4)
    assert position.wants(5)
    position.take(5)
    position.take(7)
    position.settle(7)
    assert position.checkpoint("me") == Checkpoint(position=7, open={5: 0}, holder="me")


def test_what_was_open_is_read_again_and_nothing_else() -> None:
    position = Position(Checkpoint(position=9, open={3: 2, 6: 0}))
    assert position.floor == 2
    assert [at for at in range(1, 12) if position.wants(at)] == [3, 6, 10, 11]
    assert position.take(3) == 2
    assert (position.floor, position.wants(3)) == (5, False)
    position.settle(3)
    assert position.checkpoint(None) == Checkpoint(position=9, open={6: 0})


def test_a_share_tells_its_next_holder_how_long_an_event_has_failed() -> None:
    position = Position(Checkpoint(position=9, open={3: 0, 6: 0}), 1000)
    assert position.failing_since(3) is None
    position.failing(3, 1040.5)
    position.failing(7, 1040.5)  # not open: it is done
    written = position.checkpoint("me", 1100)
    assert written.tried_s == {3: 59.5}
    position = Position(written, 5)  # another process, whose clock is another, and much later
    assert (position.failing_since(3), position.failing_since(6)) == (-54.5, None)
    position.settle(3)
    assert position.checkpoint("me", 10).tried_s == {}


def test_what_others_have_done_meanwhile_counts_as_looked_at() -> None:
    position = Position(Checkpoint(position=1))
    assert position.passed(8) is False
    assert position.checkpoint(None).position == 8
    position.passed(5)
    assert position.floor == 8


def test_what_is_no_more_is_not_waited_for() -> None:
    position = Position(Checkpoint(position=9, open={3: 0, 7: 1}))
    position.set_back(5)
    assert position.checkpoint(None) == Checkpoint(position=5, open={3: 0})
    assert [at for at in range(1, 8) if position.wants(at)] == [3, 6, 7]


def test_what_is_gone_from_the_stream_is_told() -> None:
    position = Position(Checkpoint(position=9, open={3: 0, 6: 1}))
    position.take(6)
    assert position.passed(9) is True
    assert position.checkpoint(None).open == {6: 1}
