"""How long to wait before a delivery is tried again."""

import random
from collections.abc import Callable

import anyio
import msgspec

LONGEST_WISH_S = 3600.0
"""A receiver may ask for this much time at most."""


class Patience(msgspec.Struct, frozen=True, kw_only=True):
    """A back-off that doubles, spread so that many who failed together do not come back together."""

    first_s: float = 1.0
    most_s: float = 60.0

    def wait_s(
        self, failures: int, wish_s: float | None = None, spread: Callable[[], float] = random.random
    ) -> float:
        """What to wait after so many failures in a row (1 or more); `wish_s` is what the receiver asks for.

        Between three quarters and all of the time as doubled, and never less than was asked for.
        """
        doubled: float = self.first_s * 2 ** min(failures - 1, 30)
        waited = min(self.most_s, doubled) * (0.75 + 0.25 * spread())
        return max(waited, min(wish_s or 0.0, LONGEST_WISH_S))


async def pause(seconds: float, *, until: anyio.Event) -> bool:
    """Wait so long, or until the event is set; whether it is."""
    with anyio.move_on_after(seconds):
        await until.wait()
    return until.is_set()
