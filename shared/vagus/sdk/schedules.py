"""When: what a caller says of a tick's time, as the wire says it."""

from datetime import UTC, datetime, timedelta
from typing import Final

from vagus.contract.clock import SECOND_NS, format_ns
from vagus.contract.errors import Malformed
from vagus.contract.schedules import Timing
from vagus.runtime import clock

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


def once(at: datetime | None, after: timedelta | float | None) -> Timing:
    """At an instant, or so long from now; at once if that is past. Raises `Malformed`."""
    now_ns = clock.now_ns()
    if at is not None and after is None:
        if at.tzinfo is None:
            raise Malformed("at has no time zone: say it in UTC, as datetime.now(UTC) does")
        ns = (at - _EPOCH) // timedelta(microseconds=1) * 1000
    elif after is not None and at is None:
        ns = now_ns + _ns(after)
    else:
        raise Malformed("say either at or after, not both")
    return Timing(at=format_ns(max(ns, now_ns))).checked(now_ns)


def again(cron: str | None, every: timedelta | float | None) -> Timing:
    """By a cron expression, or every so often. Raises `Malformed`."""
    every_s = None if every is None else _ns(every) / SECOND_NS
    return Timing(cron=cron, every_s=every_s).checked(clock.now_ns())


def _ns(span: timedelta | float) -> int:
    seconds = span.total_seconds() if isinstance(span, timedelta) else span
    if not abs(seconds) < 1e9:  # nor is it NaN
        raise Malformed(f"{seconds:g} s is no time to wait")
    return round(seconds * SECOND_NS)
