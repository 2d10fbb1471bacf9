"""When a schedule fires: what callers may say, how the server is told, and what is refused."""

from datetime import UTC, datetime, timedelta, timezone
from math import inf, nan

import pytest

from vagus.cli.times import instant, span
from vagus.contract.clock import SECOND_NS, format_ns, parse
from vagus.contract.errors import Malformed
from vagus.contract.schedules import Timing, firing_id
from vagus.contract.subjects import Subjects
from vagus.runtime import clock
from vagus.sdk.schedules import again, once

NOW = "2026-11-23T10:00:00.400Z"
NOW_NS = parse(NOW)


@pytest.mark.parametrize(
    ("when", "pattern"),
    [
        (Timing(at="2026-11-23T12:00:00+01:00"), "@at 2026-11-23T11:00:00Z"),
        (Timing(at="2020-02-29 00:00:00.5z"), "@at 2020-02-29T00:00:00.500Z"),
        (Timing(cron=" 0  9 * * MON-fri"), "0 0 9 * * mon-fri"),
        (Timing(every_s=1), "@every 1000ms"),
        (Timing(every_s=90.25), "@every 90250ms"),
        (Timing(every_s=31_000_000.0), "@every 31000000000ms"),
    ],
)
def test_the_server_is_told_in_its_own_words(when: Timing, pattern: str) -> None:
    checked = when.checked(NOW_NS)
    assert checked.pattern == pattern
    assert Timing.of_pattern(pattern) == checked
    assert checked.checked(NOW_NS) == checked


@pytest.mark.parametrize(
    ("when", "what"),
    [
        (Timing(), "exactly one"),
        (Timing(at=NOW, cron="* * * * *"), "exactly one"),
        (Timing(cron="* * * * *", every_s=2), "exactly one"),
        (Timing(at="tomorrow"), "not an RFC 3339 time"),
        (Timing(at="2027-12-24T10:00:00Z"), "too far away: at most 366 days"),
        (Timing(cron="0 0 30 2 *"), "does not fire"),
        (Timing(every_s=0.999), "too often: at least 1 s"),
        (Timing(every_s=-1), "too often"),
        (Timing(every_s=nan), "too often"),
        (Timing(every_s=inf), "too far away"),
    ],
)
def test_what_says_no_time_is_refused(when: Timing, what: str) -> None:
    with pytest.raises(Malformed, match=what):
        when.checked(NOW_NS)


@pytest.mark.parametrize("pattern", ["", "@daily", "@every 5m", "@every ms", "1 0 9 * * *"])
def test_a_pattern_that_is_not_ours_is_refused(pattern: str) -> None:
    with pytest.raises(Malformed, match="not a schedule of ours"):
        Timing.of_pattern(pattern)


@pytest.mark.parametrize(
    ("when", "since", "due"),
    [
        (Timing(at="2020-01-01T00:00:00Z"), NOW, "2020-01-01T00:00:00Z"),
        (Timing(cron="0 * * * *"), "2020-01-01T00:00:00Z", "2026-11-23T11:00:00Z"),
        (Timing(every_s=60), NOW, "2026-11-23T10:01:00Z"),
        (Timing(every_s=60), "2026-11-23T09:00:30.700Z", "2026-11-23T10:00:31Z"),
        (Timing(every_s=2.5), NOW, "2026-11-23T10:00:02.500Z"),
    ],
)
def test_when_a_schedule_fires_next_can_be_told(when: Timing, since: str, due: str) -> None:
    assert when.due(parse(since), NOW_NS) == due


@pytest.mark.parametrize("after", [1.5, timedelta(seconds=1.5)])
def test_a_span_counts_from_now(after: timedelta | float) -> None:
    before = clock.now_ns()
    at = once(None, after).at or ""
    assert before <= parse(at) - 1.5 * SECOND_NS <= clock.now_ns()


def test_an_instant_is_told_in_utc() -> None:
    at = datetime.now(timezone(timedelta(hours=5))) + timedelta(hours=1)
    assert once(at, None).at == format_ns(round(at.timestamp() * 1_000_000) * 1000)


@pytest.mark.parametrize(("at", "after"), [(datetime(1, 1, 1, tzinfo=UTC), None), (None, -5), (None, -1e8)])
def test_what_is_past_is_now(at: datetime | None, after: float | None) -> None:
    before = clock.now_ns()
    assert before <= parse(once(at, after).at or "") <= clock.now_ns()


@pytest.mark.parametrize(
    ("at", "after", "what"),
    [
        (datetime(2026, 11, 23), None, "no time zone"),  # noqa: DTZ001 -- the point
        (datetime.now(UTC), 1.0, "not both"),
        (datetime(9999, 12, 31, tzinfo=UTC), None, "too far away"),
        (None, nan, "no time to wait"),
        (None, inf, "no time to wait"),
        (None, timedelta.max, "no time to wait"),
        (None, timedelta(days=400), "too far away"),
    ],
)
def test_what_says_no_instant_is_refused(
    at: datetime | None, after: timedelta | float | None, what: str
) -> None:
    with pytest.raises(Malformed, match=what):
        once(at, after)


@pytest.mark.parametrize(("cron", "every"), [(None, None), ("* * * * *", 5), (None, 0), (None, nan)])
def test_what_says_no_repetition_is_refused(cron: str | None, every: float | None) -> None:
    with pytest.raises(Malformed):
        again(cron, every)
    assert again(None, timedelta(minutes=2)) == Timing(every_s=120)


def test_a_firing_has_one_id_however_often_it_is_told() -> None:
    assert firing_id("once", "purge") == "once"
    assert firing_id("hourly", "2026-11-23T11:00:00Z") == firing_id("hourly", "2026-11-23T11:00:00Z")
    assert firing_id("hourly", "2026-11-23T11:00:00Z") != firing_id("hourly", "2026-11-23T12:00:00Z")


def test_a_subject_tells_whose_schedule_it_is() -> None:
    ours = Subjects(root="t")
    assert ours.schedule_of(ours.schedule("s", "id")) == ("s", "id")
    for other in ("", "t.schedule.s", "t.schedule.s.a.b", "u.schedule.s.id", ours.due("s", "id")):
        assert ours.schedule_of(other) is None


def test_people_type_times_and_spans() -> None:
    at = datetime(2026, 11, 24, 9, tzinfo=UTC)
    assert instant("2026-11-24T09:00:00Z", "--at") == instant("2026-11-24t10:00:00+01:00", "--at") == at
    spans = {"90": 90, "1.5s": 1.5, "15m": 900, "2h": 7200, "1d": 86_400}
    assert {text: span(text, "--after").total_seconds() for text in spans} == spans
