"""Sessions that commit: at an even rate, or as fast as they can."""

from collections.abc import Sequence
from time import perf_counter
from typing import Final

import anyio

from benchmarks.commits import record
from vagus.contract.codec import seal
from vagus.runtime.eventlog import At, NoStream
from vagus.runtime.jetstream_log import JetStreamLog

EVENTS: Final = 23
"""Of a commit: a whole tick with a tool."""


class Source:
    """One session."""

    def __init__(self, log: JetStreamLog, session_id: str) -> None:
        self.session_id: Final = session_id
        self.began: list[float] = []
        """When each commit was given to the server."""
        self._log = log
        self._head = 0
        self._digest = ""

    @property
    def events(self) -> int:
        """So many were committed, or are being."""
        return len(self.began) * EVENTS

    def lag(self, sequence: int) -> float:
        """Seconds since the event was given to the server."""
        return perf_counter() - self.began[(sequence - 1) // EVENTS]

    async def create(self) -> None:
        """Make its log."""
        await self._log.create(self.session_id)

    async def commit(self) -> None:
        """Commit once."""
        first = self.events + 1
        sealed = seal([record(self.session_id, first + n) for n in range(EVENTS)], self._digest)
        self.began.append(perf_counter())
        expected = At(self._head) if self._head else NoStream()
        self._head = await self._log.commit(self.session_id, "main", sealed, expected)
        self._digest = sealed.digest


async def create(log: JetStreamLog, prefix: str, count: int) -> list[Source]:
    """So many sessions."""
    sources = [Source(log, f"{prefix}-{n}") for n in range(count)]
    for source in sources:
        await source.create()
    return sources


async def evenly(sources: Sequence[Source], events_per_s: int, seconds: float) -> float:
    """Commit in turn, at this rate as long as the server keeps up; returns the rate that came of it."""
    pause_s, began = EVENTS / events_per_s, perf_counter()
    commits = round(seconds / pause_s)
    for number in range(commits):
        await anyio.sleep(max(0.0, began + number * pause_s - perf_counter()))
        await sources[number % len(sources)].commit()
    return commits * EVENTS / (perf_counter() - began)


async def at_once(sources: Sequence[Source], events: int) -> None:
    """Commit at least so many in all, each session as fast as it can."""

    async def fill(source: Source) -> None:
        while source.events * len(sources) < events:
            await source.commit()

    async with anyio.create_task_group() as tasks:
        for source in sources:
            tasks.start_soon(fill, source)
