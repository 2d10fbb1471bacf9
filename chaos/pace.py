"""Keeps ticks and faults in step: a fault strikes so many ticks after the one before it, not at some time."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final

import anyio

AHEAD: Final = 2
"""Faults' worth of ticks that clients may begin before the next one: no fault finds them idle."""


class Pace:
    """How far ticks and faults are; a run has to do so many of each."""

    def __init__(self, *, faults: int, ticks: int) -> None:
        self._interval = max(1.0, ticks / (faults + 1))
        self._ticks = ticks
        self._due = 0.0
        self._allowed = AHEAD * self._interval
        self._moved = anyio.Event()
        self._finished = False
        self._armed = 0
        self.begun = 0
        """Ticks that clients have sent."""
        self.ended = 0
        """Ticks that clients were answered."""
        self.struck = 0
        """Faults that have begun."""
        self.moved_at = time.monotonic()

    @property
    def over(self) -> bool:
        """Whether everything that was asked for is done."""
        return self._finished and self.ended >= self._ticks

    async def tick(self) -> None:
        """Wait until one more may begin."""
        await self._until(lambda: self._finished or self._armed > 0 or self.begun < self._allowed)
        self.begun += 1

    def answered(self) -> None:
        """A tick was answered."""
        self.ended += 1
        self._move()

    async def fault(self) -> None:
        """Wait until the next one is due, and begin it."""
        await self._until(lambda: self.ended >= self._due)
        self.struck += 1
        self._due = self.ended + self._interval
        self._allowed = self.begun + AHEAD * self._interval
        self._move()

    def recovered(self) -> None:
        """A fault is over."""
        self._move()

    @contextmanager
    def armed(self) -> Iterator[None]:
        """While the block lasts, ticks do not wait for faults: one waits for them."""
        self._armed += 1
        self._move()
        try:
            yield
        finally:
            self._armed -= 1

    def finish(self) -> None:
        """All faults are over."""
        self._finished = True
        self._move()

    def _move(self) -> None:
        self.moved_at = time.monotonic()
        self._moved.set()
        self._moved = anyio.Event()

    async def _until(self, so: Callable[[], bool]) -> None:
        while not so():
            await self._moved.wait()
