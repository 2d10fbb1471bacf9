"""Cron expressions of five fields, in UTC: minute, hour, day of the month, month, day of the week.

A field is a list of `*`, numbers and ranges `a-b`, each with a step `/n` if need be; months and days of the
week may be named by three letters, Sunday is 0. When both kinds of day are restricted, a day that fits one of
them fits. nats-server reads the same language (with a field for seconds in front), and it alone decides when
one fires; this is to refuse what it would, with words that help, and to tell people when to expect it.
"""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final

from vagus.contract.clock import SECOND_NS
from vagus.contract.errors import Malformed

YEARS_AHEAD: Final = 5
"""What does not happen within these, such as on the 30th of February, never does."""


@dataclass(frozen=True, slots=True)
class _Range:
    what: str
    first: int
    last: int
    names: tuple[str, ...] = ()
    """The first one is `first`."""


_MONTHS: Final = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
_WEEKDAYS: Final = ("sun", "mon", "tue", "wed", "thu", "fri", "sat")
_FIELDS: Final = (
    _Range("minute", 0, 59),
    _Range("hour", 0, 23),
    _Range("day of the month", 1, 31),
    _Range("month", 1, 12, _MONTHS),
    _Range("day of the week", 0, 6, _WEEKDAYS),
)


@dataclass(frozen=True, slots=True)
class Cron:
    """An expression that was read."""

    text: str
    """Its fields, one blank between them."""
    minutes: frozenset[int]
    hours: frozenset[int]
    days: frozenset[int]
    months: frozenset[int]
    weekdays: frozenset[int]
    any_day: bool
    """Whether the day of the month or that of the week is open, so that the other one decides alone."""

    def after(self, ns: int) -> int:
        """The first instant later than `ns` that fits; both in nanoseconds since the epoch.

        Raises `Malformed` if there is none within `YEARS_AHEAD` years.
        """
        begin = datetime.fromtimestamp(ns // SECOND_NS, UTC).replace(second=0) + timedelta(minutes=1)
        day = begin.date()
        for _ in range(YEARS_AHEAD * 366):
            if day.month in self.months and self._fits(day.day, day.isoweekday() % 7):
                for hour in sorted(self.hours):
                    for minute in sorted(self.minutes):
                        found = datetime(day.year, day.month, day.day, hour, minute, tzinfo=UTC)
                        if found >= begin:
                            return int(found.timestamp()) * SECOND_NS
            day += timedelta(days=1)
        raise Malformed(f"cron expression {self.text!r} does not fire within {YEARS_AHEAD} years")

    def _fits(self, day: int, weekday: int) -> bool:
        if self.any_day:
            return day in self.days and weekday in self.weekdays
        return day in self.days or weekday in self.weekdays


def parse_cron(text: str) -> Cron:
    """Read an expression; raises `Malformed` that names the field."""
    fields = text.lower().split()
    if len(fields) != len(_FIELDS) or not text.isascii():
        raise Malformed(
            f"not a cron expression: {text[:80]!r}: it has five fields, such as `0 9 * * 1-5`: "
            "minute, hour, day of the month, month, day of the week (UTC)"
        )
    minutes, hours, days, months, weekdays = (
        _values(field, bounds) for field, bounds in zip(fields, _FIELDS, strict=True)
    )
    any_day = _is_open(fields[2]) or _is_open(fields[4])
    return Cron(" ".join(fields), minutes, hours, days, months, weekdays, any_day)


def _is_open(field: str) -> bool:
    return any(part in ("*", "*/1") for part in field.split(","))


def _values(field: str, bounds: _Range) -> frozenset[int]:
    return frozenset(value for part in field.split(",") for value in _part(part, bounds))


def _part(part: str, bounds: _Range) -> range:
    span, slash, step = part.partition("/")
    low, dash, high = span.partition("-")
    if span == "*":
        first, last = bounds.first, bounds.last
    else:
        first = _number(low, bounds)
        last = _number(high, bounds) if dash else bounds.last if slash else first
    every = _step(step, bounds) if slash else 1
    if first > last:
        raise Malformed(f"not a cron expression: {bounds.what} {part[:40]!r} ends before it begins")
    return range(first, last + 1, every)


def _number(text: str, bounds: _Range) -> int:
    if text in bounds.names:
        return bounds.first + bounds.names.index(text)
    number = int(text) if text.isdigit() and len(text) <= 2 else -1
    if not bounds.first <= number <= bounds.last:
        span = f"between {bounds.first} and {bounds.last}"
        raise Malformed(f"not a cron expression: {bounds.what} {text[:40]!r} is not {span}")
    return number


def _step(text: str, bounds: _Range) -> int:
    if text.isdigit() and len(text) <= 2 and int(text):
        return int(text)
    raise Malformed(f"not a cron expression: {bounds.what} has the step {text[:40]!r}")
