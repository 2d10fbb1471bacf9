"""Carrying events into a sink that takes all sessions together: batch after batch, in order."""

import logging
from collections.abc import Sequence
from typing import Final

import anyio

from vagus.contract.errors import Transient
from vagus_relay.sinks.patience import Patience, pause
from vagus_relay.sinks.port import Poison, Sink, TryLater
from vagus_relay.sinks.source import Source, Taken
from vagus_relay.sinks.tally import Tally

WITHIN_S: Final = 0.2
"""How long a batch is collected."""
IDLE_S: Final = 1.0
"""How often a sink is told that nothing came."""

_log = logging.getLogger("vagus.sink")


class Carrier:
    """One sink's way from its source.

    A receiver that does not answer is tried for ever: what is not delivered waits on its stream. Only an
    event that the sink says it can never take goes to the dead letters.
    """

    def __init__(
        self, source: Source, sink: Sink, tally: Tally, *, limit: int = 500, patience: Patience | None = None
    ) -> None:
        self._source = source
        self._sink = sink
        self._tally = tally
        self._limit = limit
        self._patience = patience or Patience()
        self._batch: Sequence[Taken] = ()
        tally.held = lambda: len(self._batch)
        tally.oldest = lambda: self._batch[:1]

    async def run(self, draining: anyio.Event) -> None:
        """Carry until `draining`; what is not delivered by then comes again."""
        told = anyio.current_time()
        while not draining.is_set():
            self._batch = await self._source.batch(self._limit, WITHIN_S)
            if not self._batch and anyio.current_time() < told + IDLE_S:
                continue
            told = anyio.current_time()
            if await self._deliver(draining) and self._batch:
                for taken in self._batch:
                    await taken.ack()
                self._tally.delivered += len(self._batch)
            self._batch = ()

    async def _deliver(self, draining: anyio.Event) -> bool:
        """Whether the batch is delivered; what is poison is no longer in it."""
        failures = 0
        while True:
            try:
                await self._sink.write(self._batch)
            except Poison as poison:
                await self._bury(poison)
            except Transient as error:
                failures += 1
                self._tally.retries += 1
                wait_s = self._patience.wait_s(
                    failures, error.after_s if isinstance(error, TryLater) else None
                )
                _log.warning("sink %s: %s; trying again in %.1f s", self._tally.name, error, wait_s)
                if await pause(wait_s, until=draining):
                    return False
            else:
                return True

    async def _bury(self, poison: Poison) -> None:
        found = [taken for taken in self._batch if taken is poison.delivery]
        if not found:
            raise RuntimeError("a sink named an event as poison that is not in its batch") from poison
        await found[0].bury(poison.message)
        self._tally.failed += 1
        self._batch = [taken for taken in self._batch if taken is not poison.delivery]
