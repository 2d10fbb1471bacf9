"""What a runner shows of its pools: slots, calls in flight, how many calls wait and since when."""

import logging
from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Final

import anyio
import msgspec

from vagus.contract.clock import parse
from vagus.contract.errors import VagusError
from vagus.contract.streams import ConsumerSpec
from vagus.contract.tools import Priority
from vagus.runtime import telemetry
from vagus.runtime.bus import ApiError, Bus
from vagus.runtime.telemetry import Reading

POLL_S: Final = 5.0
"""How often the server is asked what waits."""
_NO_MESSAGE: Final = 10037

_log = logging.getLogger(__name__)


class Waiting(msgspec.Struct, frozen=True):
    """Calls that no runner has taken yet."""

    count: int
    oldest_s: float


@asynccontextmanager
async def gauges(
    bus: Bus,
    pools: Mapping[str, Sequence[ConsumerSpec]],
    *,
    in_flight: Callable[[], Mapping[str, int]],
    slots: int,
) -> AsyncIterator[None]:
    """Show them while the block lasts, if anybody records metrics.

    Of each pool its consumers are given, one a priority. `in_flight` is called by another thread.
    """
    if not telemetry.measuring():
        yield
        return
    waiting: dict[tuple[str, Priority], Waiting] = {}

    async def poll() -> None:
        while True:
            for pool, consumers in pools.items():
                for priority, consumer in zip(Priority, consumers, strict=True):
                    try:
                        waiting[pool, priority] = await read(bus, consumer)
                    except VagusError as error:
                        waiting.pop((pool, priority), None)
                        _log.info("what waits in %s is not known: %s", consumer.name, error)
            await anyio.sleep(POLL_S)

    def waits(value: Callable[[Waiting], float]) -> Iterable[Reading]:
        return [
            (value(found), {telemetry.POOL: pool, telemetry.PRIORITY: priority.value})
            for (pool, priority), found in tuple(waiting.items())
        ]

    def running() -> Iterable[Reading]:
        now = in_flight()
        return [(now.get(pool, 0), {telemetry.POOL: pool}) for pool in pools]

    shown: dict[str, Callable[[], Iterable[Reading]]] = {
        telemetry.RUNNER_SLOTS: lambda: [(slots, {telemetry.POOL: pool}) for pool in pools],
        telemetry.RUNNER_IN_FLIGHT: running,
        telemetry.QUEUE_DEPTH: lambda: waits(lambda found: found.count),
        telemetry.QUEUE_AGE: lambda: waits(lambda found: found.oldest_s),
    }
    async with anyio.create_task_group() as tasks:
        with telemetry.observed(shown):
            tasks.start_soon(poll)
            yield
        tasks.cancel_scope.cancel()


async def read(bus: Bus, consumer: ConsumerSpec) -> Waiting:
    """What waits for a consumer now; raises as `Bus.api`."""
    info = msgspec.convert(await bus.api(f"CONSUMER.INFO.{consumer.stream}.{consumer.name}"), _Info)
    if not info.num_pending:
        return Waiting(0, 0.0)
    first = {"seq": info.delivered.stream_seq + 1, "next_by_subj": consumer.filters[0]}
    try:
        answer = await bus.api(f"STREAM.MSG.GET.{consumer.stream}", first)
    except ApiError as error:
        if error.err_code == _NO_MESSAGE:  # it has been taken meanwhile
            return Waiting(0, 0.0)
        raise
    oldest = msgspec.convert(answer["message"], _Message)
    return Waiting(info.num_pending, max(0.0, (parse(info.ts) - parse(oldest.time)) / 1e9))


class _Delivered(msgspec.Struct):
    stream_seq: int


class _Info(msgspec.Struct):
    delivered: _Delivered
    num_pending: int
    ts: str
    """The server's time."""


class _Message(msgspec.Struct):
    time: str
