"""What waits in the queues, and since when, as metrics; asked of the streams while anybody records them."""

import logging
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager
from typing import Final

import anyio
import msgspec

from vagus.contract.clock import parse
from vagus.contract.errors import VagusError
from vagus.contract.streams import QUEUES
from vagus.contract.subjects import Subjects
from vagus.runtime import telemetry
from vagus.runtime.beside import beside
from vagus.runtime.bus import Bus
from vagus.runtime.telemetry import Reading

POLL_S: Final = 5.0
"""How often the server is asked."""

_log = logging.getLogger(__name__)


class Waiting(msgspec.Struct, frozen=True):
    """Messages of a stream that nobody has acknowledged yet."""

    count: int
    oldest_s: float


@asynccontextmanager
async def queues_shown(bus: Bus, subjects: Subjects) -> AsyncIterator[None]:
    """Show them while the block lasts. Of a queue that cannot be asked nothing is shown."""
    if not telemetry.measuring():
        yield
        return
    waiting: dict[str, Waiting] = {}

    async def poll() -> None:
        while True:
            for name in QUEUES:
                try:
                    waiting[name] = await read(bus, subjects.named(name))
                except VagusError as error:
                    waiting.pop(name, None)
                    _log.info("what waits in %s is not known: %s", name, error)
            await anyio.sleep(POLL_S)

    def waits(value: Callable[[Waiting], float]) -> Iterable[Reading]:
        return [(value(found), {telemetry.STREAM: name}) for name, found in tuple(waiting.items())]

    shown: dict[str, Callable[[], Iterable[Reading]]] = {
        telemetry.STREAM_MESSAGES: lambda: waits(lambda found: found.count),
        telemetry.STREAM_AGE: lambda: waits(lambda found: found.oldest_s),
    }
    with telemetry.observed(shown):
        async with beside(poll):
            yield


async def read(bus: Bus, stream: str) -> Waiting:
    """What waits in a stream now; raises as `Bus.api`."""
    info = msgspec.convert(await bus.api(f"STREAM.INFO.{stream}"), _Info)
    if not info.state.messages:
        return Waiting(0, 0.0)
    age_s = (parse(info.ts) - parse(info.state.first_ts)) / 1e9
    return Waiting(info.state.messages, max(0.0, age_s))


class _State(msgspec.Struct):
    messages: int
    first_ts: str


class _Info(msgspec.Struct):
    state: _State
    ts: str
