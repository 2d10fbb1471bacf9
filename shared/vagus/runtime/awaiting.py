"""At the start: waiting for what others bring, the server and its streams."""

import logging
import random
from collections.abc import Awaitable, Callable
from typing import Final, TypeVar

import anyio

from vagus.contract import streams
from vagus.contract.errors import OutcomeUnknown, Transient, Unavailable
from vagus.contract.subjects import Subjects
from vagus.runtime.bus import ApiError, Bus

_T = TypeVar("_T")

FIRST_S: Final = 0.5
MOST_S: Final = 5.0
"""Between two attempts: doubling from the first to this, jittered."""

_NO_STREAM: Final = 10059

_log = logging.getLogger("vagus.process")


async def until_there(attempt: Callable[[], Awaitable[_T]], give_up_at: float) -> _T:
    """What `attempt` returns; repeated while what it needs is missing, until `give_up_at` in anyio's time.

    Raises:
        VagusError: What the last attempt raised; at once unless it is `Transient` or `OutcomeUnknown`.
    """
    pause_s = FIRST_S
    while True:
        try:
            return await attempt()
        except (Transient, OutcomeUnknown) as error:
            if anyio.current_time() + pause_s > give_up_at:
                raise
            _log.info("waiting: %s", error)
        await anyio.sleep(pause_s * random.uniform(0.5, 1))  # noqa: S311 -- spreads load, keeps no secret
        pause_s = min(2 * pause_s, MOST_S)


async def streams_there(bus: Bus, subjects: Subjects) -> None:
    """Return if somebody has made what the processes share: the leases are the last that is made.

    Raises:
        Unavailable: It is not there.
        OutcomeUnknown: No answer.
    """
    try:
        await bus.api(f"STREAM.INFO.KV_{subjects.named(streams.MEMBERS)}")
    except ApiError as error:
        if error.err_code != _NO_STREAM:
            raise
        raise Unavailable(
            f"{subjects.root} has no streams on this server: make them with `vagus provision`"
        ) from error
