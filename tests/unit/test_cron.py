"""Cron expressions: what they mean, and what is refused with words that help."""

import random
from datetime import UTC, datetime, timedelta

import pytest

from vagus.contract.clock import format_ns, parse
from vagus.contract.cron import parse_cron
from vagus.contract.errors import Malformed

MONDAY = "2026-11-23T10:00:00Z"


@pytest.mark.parametrize(
    ("text", "after", "following"),
    [
        ("* * * * *", MONDAY, "2026-11-23T10:01:00Z"),
        ("0 9 * * 1-5", MONDAY, "2026-11-24T09:00:00Z"),
        ("0 9 * * mon-fri", "2026-11-27T09:00:00Z", "2026-11-30T09:00:00Z"),
        ("*/15 * * * *", "2026-11-23T10:44:59.999Z", "2026-11-23T10:45:00Z"),
        ("5/20 * * * *", MONDAY, "2026-11-23T10:05:00Z"),
        ("30 8,18 * * *", MONDAY, "2026-11-23T18:30:00Z"),
        ("0 0 1 jan *", MONDAY, "2027-01-01T00:00:00Z"),
        ("0 0 31 * *", MONDAY, "2026-12-31T00:00:00Z"),
        ("0 0 29 2 *", MONDAY, "2028-02-29T00:00:00Z"),
        ("0 0 13 * 5", MONDAY, "2026-11-27T00:00:00Z"),  # either of the two days
        ("0 0 */2 * 0", MONDAY, "2026-11-25T00:00:00Z"),  # a step restricts as well
        ("0 0 * * SUN", MONDAY, "2026-11-29T00:00:00Z"),
        ("  0   0 *  * 0 ", MONDAY, "2026-11-29T00:00:00Z"),
        ("59 23 31 12 *", "2026-12-31T23:59:00Z", "2027-12-31T23:59:00Z"),
    ],
)
def test_an_expression_fires_first_after_an_instant(text: str, after: str, following: str) -> None:
    assert format_ns(parse_cron(text).after(parse(after))) == following


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("", "five fields"),
        ("0 9 * *", "five fields"),
        ("0 0 9 * * 1", "five fields"),
        ("@daily", "five fields"),
        ("60 * * * *", "minute '60' is not between 0 and 59"),
        ("* 24 * * *", "hour '24' is not between 0 and 23"),
        ("* * 0 * *", "day of the month '0' is not between 1 and 31"),
        ("* * * 13 *", "month '13' is not between 1 and 12"),
        ("* * * * 7", "day of the week '7' is not between 0 and 6"),
        ("* * * * monday", "day of the week 'monday'"),
        ("-1 * * * *", "minute ''"),
        ("5-1 * * * *", "ends before it begins"),
        ("1,,2 * * * *", "minute ''"),
        ("*/0 * * * *", "has the step '0'"),
        ("*/ * * * *", "has the step ''"),
        ("*/5/5 * * * *", "has the step '5/5'"),
        ("\u0661 * * * *", "five fields"),
        ("1 * * * *\x00", "day of the week"),
    ],
)
def test_what_is_no_expression_is_refused_with_the_field_that_is_wrong(text: str, what: str) -> None:
    with pytest.raises(Malformed, match="not a cron expression") as refused:
        parse_cron(text)
    assert what in refused.value.message


def test_what_never_happens_is_refused() -> None:
    with pytest.raises(Malformed, match="does not fire within 5 years"):
        parse_cron("0 0 30 2 *").after(parse(MONDAY))


def test_nothing_that_fits_is_passed_over() -> None:
    """Against a walk from minute to minute over a week, of expressions at random."""
    chance = random.Random(7)

    def field(low: int, high: int) -> str:
        return chance.choice(["*", f"*/{chance.randint(1, 9)}", str(chance.randint(low, high))])

    for _ in range(50):
        cron = parse_cron(f"{field(0, 59)} {field(0, 23)} {field(1, 28)} * {field(0, 6)}")
        at = datetime(2026, 11, 23, tzinfo=UTC) + timedelta(minutes=chance.randint(0, 100_000))
        ns = cron.after(int(at.timestamp()) * 10**9)
        for _ in range(7 * 24 * 60):
            at += timedelta(minutes=1)
            if int(at.timestamp()) * 10**9 == ns:
                break
            in_month, in_week = at.day in cron.days, at.isoweekday() % 7 in cron.weekdays
            day = in_month and in_week if cron.any_day else in_month or in_week
            assert not (at.minute in cron.minutes and at.hour in cron.hours and day)
