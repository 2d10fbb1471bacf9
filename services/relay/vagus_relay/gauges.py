"""What a relay shows of itself: how far it is behind, and how many sessions it carries."""

from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager

from vagus.runtime import telemetry
from vagus.runtime.telemetry import Reading
from vagus_relay.roster import Roster


@asynccontextmanager
async def gauges(roster: Roster) -> AsyncIterator[None]:
    """Show it while the block lasts; read by another thread, if anybody records metrics."""

    def gauge(value: Callable[[], float]) -> Callable[[], Iterable[Reading]]:
        return lambda: [(value(), {})]

    shown = {
        telemetry.RELAY_LAG: gauge(lambda: roster.lag_s),
        telemetry.RELAY_BEHIND: gauge(lambda: roster.behind),
        telemetry.RELAY_SESSIONS: gauge(lambda: len(roster.tracks)),
    }
    with telemetry.observed(shown):
        yield
