"""How often this runner may begin a call of one tool: some at once, then one after the other."""

import time
from typing import Any, Final

from vagus.contract.tools import read_rate
from vagus.tools import Tool

PERIODS: Final = {"s": 1.0, "min": 60.0, "h": 3600.0}


class Pace:
    """A bucket of `count` tokens that fills up within `period_s`. Those who wait are served in order."""

    def __init__(self, count: int, period_s: float) -> None:
        self._interval_s = period_s / count
        self._slack_s = period_s - self._interval_s
        self._full_at = 0.0
        """When the bucket is full again, by the same clock as `now_s`."""

    def reserve(self, now_s: float, patience_s: float) -> float | None:
        """Take a token, now or of the time to come; returns in how many seconds it may be used.

        None, and none is taken, if that is longer than `patience_s`.
        """
        full_at = max(self._full_at, now_s)
        wait_s = max(0.0, full_at - self._slack_s - now_s)
        if wait_s > patience_s:
            return None
        self._full_at = full_at + self._interval_s
        return wait_s


class Paces:
    """One for each tool that has a rate."""

    def __init__(self) -> None:
        self._by_tool: dict[str, Pace] = {}

    def delay(self, tool: Tool[Any, Any], patience_s: float) -> float:
        """In how many seconds it is the tool's turn, which is then taken; at most the patience."""
        definition = tool.definition
        if definition.rate is None:
            return 0.0
        pace = self._by_tool.get(definition.name)
        if pace is None:
            count, unit = read_rate(definition.rate)
            pace = self._by_tool[definition.name] = Pace(count, PERIODS[unit])
        wait_s = pace.reserve(time.monotonic(), patience_s)
        return max(0.0, patience_s) if wait_s is None else wait_s
