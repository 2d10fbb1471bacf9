"""Times as people type them."""

import re
from datetime import datetime, timedelta
from typing import Final

import typer

_UNITS: Final = {"": 1, "s": 1, "m": 60, "h": 3600, "d": 86_400}
_SPAN: Final = re.compile(r"(\d{1,9}(?:\.\d{1,9})?)([smhd]?)", re.ASCII)


def instant(text: str, option: str) -> datetime:
    """An RFC 3339 time."""
    from vagus.contract.clock import parse
    from vagus.contract.errors import Malformed

    try:
        parse(text)
        return datetime.fromisoformat(text.upper())
    except (Malformed, ValueError) as error:
        raise typer.BadParameter(
            f"{text[:40]!r} is no time: write it as 2026-11-24T09:00:00Z", param_hint=option
        ) from error


def span(text: str, option: str) -> timedelta:
    """Seconds, or with a unit: `90`, `90s`, `15m`, `2h`, `1d`."""
    found = _SPAN.fullmatch(text)
    if found is None:
        raise typer.BadParameter(
            f"{text[:40]!r} is no span: write seconds, or 15m, 2h, 1d", param_hint=option
        )
    return timedelta(seconds=float(found[1]) * _UNITS[found[2]])
