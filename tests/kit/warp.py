"""An event loop whose time is the test's: it is stepped, never waits, and may be left standing."""

import asyncio
from dataclasses import dataclass


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
        for _ in range(count):
            self.call_soon(self.stop)  # so that the round does not wait
            self.run_forever()
