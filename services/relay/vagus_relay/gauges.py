"""What a relay shows of itself: how far it is behind, and how many sessions it carries."""

from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager

from vagus.runtime import telemetry
from vagus.runtime.telemetry import Reading
from vagus_relay.firehose import Firehose


@asynccontextmanager
async def gauges(firehose: Firehose) -> AsyncIterator[None]:
    """Show it while the block lasts; read by another thread, if anybody records metrics."""

    def gauge(value: Callable[[], float]) -> Callable[[], Iterable[Reading]]:
        return lambda: [(value(), {})]

    shown = {
        telemetry.RELAY_LAG: gauge(lambda: firehose.lag_s),
        telemetry.RELAY_BEHIND: gauge(lambda: firehose.behind),
        telemetry.RELAY_SESSIONS: gauge(lambda: len(firehose.tracks)),
    }
    with telemetry.observed(shown):
        yield
