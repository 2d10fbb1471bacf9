"""Carrying events into a sink that takes them one by one: sessions side by side, each in order."""

import logging
from collections import deque
from collections.abc import Callable, Iterable
from typing import Final

import anyio
from anyio.abc import TaskGroup

from vagus.contract.errors import Transient
from vagus_relay.sinks.configuration import DAY_S
from vagus_relay.sinks.patience import Patience, pause
from vagus_relay.sinks.port import Delivery, Poison, Sink, TryLater
from vagus_relay.sinks.source import Source, Taken
from vagus_relay.sinks.tally import Tally

HELD: Final = 4096
"""Events that are held for lanes at most; when so many wait, nothing more is taken."""

FAILING: Final = 100_000
"""Of so many sessions it is remembered since when they have failed."""
LIMIT: Final = 64
"""Events that are taken at a time."""
WITHIN_S: Final = 0.05
"""How long they are collected: each is sent by itself, so that there is little to wait for."""

_log = logging.getLogger("vagus.sink")


class Lanes:
    """One sink's way from its source, a lane for every session that has something to deliver.

    A session that fails waits for its next attempt without holding anything but its events, so that the
    others go on. When it has failed for `give_up_s`, its next event goes to the dead letters, and so does
    each that fails after it, until one is delivered. Since when it has failed is noted with its event, and
    survives this process; the time in which no process tries is not counted.
    """

    def __init__(
        self,
        source: Source,
        sink: Sink,
        tally: Tally,
        *,
        concurrency: int = 16,
        give_up_s: float = DAY_S,
        held: int = HELD,
        patience: Patience | None = None,
        clock: Callable[[], float] = anyio.current_time,
    ) -> None:
        self._source = source
        self._sink = sink
        self._tally = tally
        self._slots = anyio.Semaphore(concurrency)
        self._give_up_s = give_up_s
        self._most = held
        self._patience = patience or Patience(most_s=3600)
        self._clock = clock
        self._lanes: dict[str, deque[Taken]] = {}
        self._failing: dict[str, float] = {}
        """Since when a session has failed; it is forgotten with its first success."""
        self._held = 0
        self._room = anyio.Event()
        tally.held = lambda: self._held
        tally.oldest = self._heads

    async def run(self, draining: anyio.Event) -> None:
        """Carry until `draining`, and what was being sent then has ended; the rest comes again."""
        async with anyio.create_task_group() as tasks:
            while not draining.is_set():
                await self._take(tasks, draining)

    def _heads(self) -> Iterable[Delivery]:
        return [lane[0] for lane in list(self._lanes.values()) if lane]

    async def _take(self, tasks: TaskGroup, draining: anyio.Event) -> None:
        if self._held >= self._most:
            self._room = anyio.Event()
            await self._either(self._room, draining)
            return
        for taken in await self._source.batch(min(LIMIT, self._most - self._held), WITHIN_S):
            self._held += 1
            lane = self._lanes.get(taken.session_id)
            if lane is None:
                lane = self._lanes[taken.session_id] = deque()
                tasks.start_soon(self._serve, taken.session_id, lane, draining)
            lane.append(taken)

    async def _either(self, room: anyio.Event, draining: anyio.Event) -> None:
        while not room.is_set() and not draining.is_set():
            await pause(WITHIN_S, until=room)

    async def _serve(self, session: str, lane: deque[Taken], draining: anyio.Event) -> None:
        failures = 0
        while lane and not draining.is_set():
            wait_s = await self._attempt(session, lane[0], failures)
            if wait_s is None:
                failures = 0
                lane.popleft()
                self._held -= 1
                self._room.set()
            else:
                failures += 1
                await pause(wait_s, until=draining)
        self._held -= len(lane)
        del self._lanes[session]

    async def _attempt(self, session: str, taken: Taken, failures: int) -> float | None:
        """None: it is delivered or given up; else how long to wait before it is tried again."""
        if (since := self._failing.get(session)) is not None:
            await taken.note_failing(since)
        try:
            async with self._slots:
                await self._sink.write((taken,))
        except Poison as poison:
            await self._bury(taken, poison.message)
        except Transient as error:
            failed_s = self._clock() - await self._failed(taken)
            if failed_s >= self._give_up_s:
                await self._bury(taken, f"not delivered within {self._give_up_s / 3600:g} h: {error}")
                return None
            self._tally.retries += 1
            wish_s = error.after_s if isinstance(error, TryLater) else None
            wait_s = min(self._patience.wait_s(failures + 1, wish_s), self._give_up_s - failed_s)
            _log.warning(
                "sink %s: %s (session %s); trying again in %.1f s", self._tally.name, error, session, wait_s
            )
            return wait_s
        else:
            self._failing.pop(session, None)
            await taken.ack()
            self._tally.delivered += 1
        return None

    async def _failed(self, taken: Taken) -> float:
        """Since when a session has failed of which this event has: since now, if it was well."""
        if (since := self._failing.get(taken.session_id)) is None:
            if len(self._failing) >= FAILING:
                del self._failing[next(iter(self._failing))]  # the first; it has hardly anything left
            since = self._clock() if taken.failing_since is None else taken.failing_since
            self._failing[taken.session_id] = since
            await taken.note_failing(since)
        return since

    async def _bury(self, taken: Taken, reason: str) -> None:
        await taken.bury(reason)
        self._tally.failed += 1
