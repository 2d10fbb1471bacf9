"""What one sink has done, for its gauges."""

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress

from vagus.contract import clock
from vagus.contract.errors import Malformed
from vagus.runtime import telemetry
from vagus_relay.sinks import envelope
from vagus_relay.sinks.port import Delivery


class Tally:
    """Counts of a sink. Read by another thread; every value stands by itself."""

    def __init__(self, name: str, now: Callable[[], float] = time.time) -> None:
        self.name = name
        self.delivered = 0
        self.failed = 0
        """Given up to the dead letters."""
        self.retries = 0
        """Attempts that are to be repeated."""
        self.held: Callable[[], int] = lambda: 0
        """Events that were taken and are not delivered yet."""
        self.oldest: Callable[[], Iterable[Delivery]] = lambda: ()
        """Those of them that come next."""
        self._now = now

    @property
    def lag_s(self) -> float:
        """How long ago the oldest event happened that was taken and is not delivered; 0: there is none."""
        happened = []
        for delivery in self.oldest():
            with suppress(Malformed):  # it has no time to judge by; what delivers it will say so
                happened.append(clock.parse(envelope.read(delivery.line).timestamp) / clock.SECOND_NS)
        return max(0.0, self._now() - min(happened)) if happened else 0.0


@contextmanager
def observed(tallies: Sequence[Tally]) -> Iterator[None]:
    """Show what these sinks have done, while the block lasts."""

    def each(read: Callable[[Tally], float]) -> Callable[[], list[telemetry.Reading]]:
        return lambda: [(read(tally), {telemetry.SINK: tally.name}) for tally in tallies]

    with telemetry.observed(
        {
            telemetry.SINK_LAG: each(lambda tally: tally.lag_s),
            telemetry.SINK_HELD: each(lambda tally: tally.held()),
            telemetry.SINK_DELIVERED: each(lambda tally: tally.delivered),
            telemetry.SINK_FAILED: each(lambda tally: tally.failed),
            telemetry.SINK_RETRIES: each(lambda tally: tally.retries),
        }
    ):
        yield
