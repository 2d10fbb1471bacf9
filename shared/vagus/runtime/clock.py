"""What the time is now, as the wire writes it; reading and writing instants is `vagus.contract.clock`."""

import time

from vagus.contract.clock import format_ns, parse

__all__ = ["format_ns", "now", "now_ms", "now_ns", "parse", "plus"]


def now() -> str:
    """The present instant: RFC 3339, UTC, with a `Z`."""
    return format_ns(time.time_ns())


def now_ns() -> int:
    """The present instant in nanoseconds since the epoch."""
    return time.time_ns()


def now_ms() -> int:
    """The present instant in milliseconds since the epoch."""
    return time.time_ns() // 1_000_000


def plus(seconds: float) -> str:
    """The instant `seconds` from now."""
    return format_ns(now_ns() + round(seconds * 1_000_000_000))
