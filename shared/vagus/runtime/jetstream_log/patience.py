"""Reading while a cluster has no leader: asking again, for as long as choosing one takes."""

from collections.abc import Awaitable, Callable
from typing import Final, TypeVar

import anyio

from vagus.contract import limits
from vagus.contract.errors import Unavailable
from vagus.runtime.bus import Bus

T = TypeVar("T")

TRY_S: Final = 2.0
"""Of one attempt: whoever is asked may be gone, and the next attempt may meet another server."""
PATIENCE_S: Final = 3 * limits.REQUEST_TIMEOUT_S
"""Of all attempts: the death of a leader is noticed after 4 to 9 s."""
RECONNECT_S: Final = 3.0
"""Of all attempts without a connection: another server of a cluster is reached sooner."""
_PAUSE_S: Final = 0.1


async def patiently(bus: Bus, ask: Callable[[], Awaitable[T]]) -> T:
    """The first answer; `Unavailable` as the last attempt raised it."""
    began = anyio.current_time()
    while True:
        try:
            return await ask()
        except Unavailable:
            if anyio.current_time() - began > (PATIENCE_S if bus.connected else RECONNECT_S):
                raise
        await anyio.sleep(_PAUSE_S)
