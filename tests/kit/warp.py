"""An event loop whose time is the test's: it is stepped, never waits, and may be left standing."""

import asyncio
from dataclasses import dataclass
from typing import Any

import pytest
from sniffio import thread_local as sniffed

from vagus.contract import limits
from vagus.contract.clock import format_ns
from vagus.runtime import clock as wall
from vagus_kernel import actor


@dataclass
class Clock:
    """The time of a whole world."""

    now: float = 1_800_000_000.0

    def now_ns(self) -> int:
        """Nanoseconds since the epoch."""
        return round(self.now * 1e9)


class WarpLoop(asyncio.SelectorEventLoop):
    """Runs what is due when it is stepped."""

    def __init__(self, clock: Clock) -> None:
        self._world = clock
        super().__init__()

    def time(self) -> float:
        """The world's time."""
        return self._world.now

    def step(self, count: int = 1) -> None:
        """Run this many rounds: each runs every callback that is ready, none of those that become ready."""
        known, sniffed.name = sniffed.name, "asyncio"  # callbacks are no task, by which sniffio would tell
        try:
            for _ in range(count):
                self.call_soon(self.stop)  # so that the round does not wait
                self.run_forever()
        finally:
            sniffed.name = known


def warped(clock: Clock, deliveries: int) -> pytest.MonkeyPatch:
    """Until it is undone, the modules' time is this one; at this delivery an input is given up."""
    patch = pytest.MonkeyPatch()
    patch.setattr(wall, "now_ns", clock.now_ns)
    patch.setattr(wall, "now", lambda: format_ns(clock.now_ns()))
    patch.setattr(actor, "run_sync", _at_once)
    patch.setattr(limits, "MAX_DELIVERIES", deliveries)
    return patch


async def _at_once(function: Any, *arguments: Any) -> None:
    """Instead of a thread, which would take time of another world."""
