"""Patience: what must be stored before an input is acked is tried until it is, within bounds."""

from collections.abc import Awaitable, Callable
from typing import Final, TypeVar

import anyio

from vagus.contract.errors import Busy, OutcomeUnknown, Unavailable

T = TypeVar("T")

PATIENCE_S: Final = 60.0
"""How long a server is waited for that cannot be reached, or is full."""
RETRY_S: Final = 0.25


class Patience:
    """Of one session; it ends with `lose`."""

    def __init__(self) -> None:
        self._lost = False

    def lose(self) -> None:
        """From now on the first failure counts: the session is to be given back."""
        self._lost = True

    async def until(self, attempt: Callable[[], Awaitable[T]]) -> T:
        """The result of the first attempt that succeeds; what is attempted must bear repetition.

        Raises:
            Unavailable, OutcomeUnknown, Busy: It has failed for too long.
        """
        deadline: float | None = None
        while True:
            try:
                return await attempt()
            except (Unavailable, OutcomeUnknown, Busy):
                deadline = deadline or anyio.current_time() + PATIENCE_S
                if self._lost or anyio.current_time() > deadline:
                    raise
                await anyio.sleep(RETRY_S)
