"""Instants as the wire writes them: RFC 3339, UTC, with a `Z`. What time it is now is the runtime's."""

import re
from datetime import UTC, datetime
from functools import lru_cache
from typing import Final

from vagus.contract.errors import Malformed

SECOND_NS: Final = 1_000_000_000
_RFC3339: Final = re.compile(
    r"(\d{4}-\d\d-\d\d)[Tt ](\d\d:\d\d:\d\d)(?:\.(\d{1,9})\d*)?(?:[Zz]|([+-])(\d\d):(\d\d))(?![\s\S])",
    re.ASCII,
)


def plus(instant: str, seconds: float) -> str:
    """The instant `seconds` later; `Malformed` if `instant` is none."""
    return format_ns(parse(instant) + round(seconds * SECOND_NS))


def format_ns(ns: int) -> str:
    """Nanoseconds since the epoch as text, with the fewest of 0, 3, 6 or 9 fractional digits."""
    seconds, fraction = divmod(ns, SECOND_NS)
    whole = _whole(seconds)
    if fraction == 0:
        return f"{whole}Z"
    if fraction % 1_000_000 == 0:
        return f"{whole}.{fraction // 1_000_000:03d}Z"
    if fraction % 1_000 == 0:
        return f"{whole}.{fraction // 1_000:06d}Z"
    return f"{whole}.{fraction:09d}Z"


@lru_cache(maxsize=64)
def _whole(seconds: int) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%S")


@lru_cache(maxsize=64)
def _seconds(day: str, clock: str) -> int:
    return int(datetime.fromisoformat(f"{day}T{clock}+00:00").timestamp())


def parse(text: str) -> int:
    """Nanoseconds since the epoch; any RFC 3339 offset is read, digits below a nanosecond are dropped."""
    found = _RFC3339.match(text)
    if found is None:
        raise Malformed(f"not an RFC 3339 time: {text[:40]!r}")
    day, clock, fraction, sign, hours, minutes = found.groups()
    try:
        whole = _seconds(day, clock)
    except ValueError as error:
        raise Malformed(f"not an RFC 3339 time: {text[:40]!r} ({error})") from error
    offset = (int(hours) * 60 + int(minutes)) * 60 if sign else 0
    whole = whole - offset if sign == "+" else whole + offset
    return whole * SECOND_NS + int((fraction or "").ljust(9, "0"))
