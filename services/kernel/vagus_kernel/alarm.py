"""When an actor looks at the clock: once a second, by a timer that stays while others wake the actor."""

import asyncio
from collections.abc import Callable
from typing import Final

CLOCK_S: Final = 1.0
"""How often a session that waits for something looks at the clock."""


class Alarm:
    """Of one actor; `ring` wakes it. It may ring once too often, never too late."""

    def __init__(self, ring: Callable[[], None]) -> None:
        self._loop = asyncio.get_running_loop()
        self._at = self._loop.time() + CLOCK_S
        self._ring = ring
        self._timer: asyncio.TimerHandle | None = None

    @property
    def due(self) -> bool:
        """Whether it is time to look."""
        return self._loop.time() >= self._at

    def wind(self) -> None:
        """The next time is a second from now."""
        self._at = self._loop.time() + CLOCK_S

    def set(self) -> None:
        """Ring when it is time. Idempotent."""
        if self._timer is None:
            self._timer = self._loop.call_at(self._at, self._rang)

    def stop(self) -> None:
        """Never ring any more."""
        if self._timer is not None:
            self._timer.cancel()

    def _rang(self) -> None:
        self._timer = None
        self._ring()
