"""Lag, catching up, and many subscribers: a server, a relay, and sessions that only commit."""

from collections import Counter
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from time import perf_counter
from typing import Final

import anyio

import vagus
from benchmarks.feed import source, ways
from benchmarks.feed.figures import AudienceFigures, CatchUpFigures, LagFigures
from benchmarks.feed.source import Source
from benchmarks.feed.ways import Place
from benchmarks.figures import spread
from benchmarks.machine import load
from tests.kit.processes import process
from vagus.contract import streams
from vagus.contract.subjects import Subjects
from vagus.runtime.embedded import Durability, EmbeddedServer
from vagus.runtime.jetstream_log import JetStreamLog
from vagus.runtime.provision import ensure, ensure_firehose

RATE: Final = 1000
SECONDS: Final = 20.0
SECONDS_QUICK: Final = 1.0
SESSIONS: Final = 16
EVENTS: Final = 1_000_000
EVENTS_QUICK: Final = 1000
SINK_EVENTS: Final = 50_000
"""Of webhooks, which are a request each, and of the other sinks."""
SUBSCRIBERS: Final = 100
SUBSCRIBERS_QUICK: Final = 5
PATIENCE_S: Final = 1800.0
SETTLED_S: Final = 120.0


@asynccontextmanager
async def place(folder: Path, durability: Durability, *, relay: bool) -> AsyncIterator[Place]:
    """A server with the streams, and a relay."""
    subjects = Subjects()
    async with (
        EmbeddedServer(folder / "nats", durability=durability) as server,
        vagus.connect(server.url, name="benchmark") as client,
    ):
        await ensure(client.bus, subjects, partitions=1)
        await ensure_firehose(client.bus, subjects, streams.events(subjects))
        environ = {"VAGUS_SERVER": server.url, "VAGUS_PARTITIONS": "1", "VAGUS_LOG_LEVEL": "info"}
        found = Place(client, environ, folder, server.url)
        async with AsyncExitStack() as stack:
            if relay:
                await stack.enter_async_context(relaying(found))
            yield found


@asynccontextmanager
async def relaying(where: Place) -> AsyncIterator[None]:
    """A relay while the block lasts."""
    async with process("vagus_relay", where.environ, where.folder / "relay.log"):
        yield


class Arrivals:
    """What has arrived of what these sessions commit, each event once."""

    def __init__(self, sources: Sequence[Source]) -> None:
        self._sources = {one.session_id: one for one in sources}
        self._newest: Counter[str] = Counter()
        self.count = 0
        self.lags: list[float] = []

    def take(self, session_id: str, sequence: int) -> None:
        """One has arrived; a session's arrive in order."""
        one = self._sources.get(session_id)
        if one is not None and sequence > self._newest[session_id]:
            self._newest[session_id] = sequence
            self.count += 1
            self.lags.append(one.lag(sequence))

    async def until(self, count: int, patience_s: float) -> None:
        """Wait until so many have arrived; TimeoutError."""
        with anyio.fail_after(patience_s):
            while self.count < count:  # noqa: ASYNC110 -- an event a message would be measured too
                await anyio.sleep(0.005)


async def lag(folder: Path, durability: Durability, *, quick: bool) -> list[LagFigures]:
    """Of every way that is live, one after the other."""
    found: list[LagFigures] = []
    async with place(folder, durability, relay=True) as where:
        log = JetStreamLog(where.client.bus, where.client.subjects)
        for number, (way, gets) in enumerate(ways.live().items()):
            before = load()
            sources = await source.create(log, f"lag{number}", SESSIONS)
            arrivals = Arrivals(sources)
            async with gets(where, f"lag-{number}", False, arrivals.take):
                for one in sources:  # warm, and known to everybody
                    await one.commit()
                await arrivals.until(SESSIONS * source.EVENTS, SETTLED_S)
                arrivals.lags.clear()
                rate = await source.evenly(sources, RATE, SECONDS_QUICK if quick else SECONDS)
                await arrivals.until(sum(one.events for one in sources), SETTLED_S)
            found.append(
                LagFigures(
                    way=way,
                    load_before=before,
                    wanted_per_s=RATE,
                    committed_per_s=round(rate, 1),
                    lag=spread(arrivals.lags),
                )
            )
    return found


async def catch_up(folder: Path, durability: Durability, *, quick: bool) -> list[CatchUpFigures]:
    """First the relay, from the logs; then everything that reads what it has stored."""
    many = EVENTS_QUICK if quick else EVENTS
    few = min(many, SINK_EVENTS)
    found: list[CatchUpFigures] = []

    def note(way: str, before: float, events: int, began: float) -> None:
        took_s = perf_counter() - began
        found.append(
            CatchUpFigures(
                way=way,
                load_before=before,
                events=events,
                took_s=round(took_s, 2),
                events_per_s=round(events / took_s, 1),
            )
        )

    async with place(folder, durability, relay=False) as where:
        log = JetStreamLog(where.client.bus, where.client.subjects)
        sources = await source.create(log, "many", SESSIONS)
        await source.at_once(sources, many)
        total = sum(one.events for one in sources)
        before, began = load(), perf_counter()
        async with relaying(where):
            with anyio.fail_after(PATIENCE_S):
                while await _stored(where) < total:  # noqa: ASYNC110 -- a stream gives no event
                    await anyio.sleep(0.05)
            note("relay", before, total, began)
            for number, (way, gets) in enumerate(ways.stored().items()):
                sunk = way not in ("JetStream consumer", "durable subscription")
                wanted = few if sunk else total
                arrivals = Arrivals(sources)
                before, began = load(), perf_counter()
                async with gets(where, f"stored-{number}", True, arrivals.take):
                    await arrivals.until(wanted, PATIENCE_S)
                    note(way, before, arrivals.count, began)
    return found


async def audience(folder: Path, durability: Durability, *, quick: bool) -> list[AudienceFigures]:
    """Many subscriptions, each to one session, while all sessions commit."""
    count = SUBSCRIBERS_QUICK if quick else SUBSCRIBERS
    found: list[AudienceFigures] = []
    before = load()
    async with place(folder, durability, relay=True) as where:
        log = JetStreamLog(where.client.bus, where.client.subjects)
        sources = await source.create(log, "audience", count)
        arrivals = Arrivals(sources)
        async with listening(where, sources, arrivals):
            for one in sources:
                await one.commit()
            await arrivals.until(count * source.EVENTS, PATIENCE_S)
            arrivals.lags.clear()
            began = perf_counter()
            rate = await source.evenly(sources, RATE, SECONDS_QUICK if quick else SECONDS)
            await arrivals.until(sum(one.events for one in sources), SETTLED_S)
            found.append(
                AudienceFigures(
                    subscribers=count,
                    load_before=before,
                    committed_per_s=round(rate, 1),
                    delivered_per_s=round(len(arrivals.lags) / (perf_counter() - began), 1),
                    lag=spread(arrivals.lags),
                )
            )
    return found


@asynccontextmanager
async def listening(where: Place, sources: Sequence[Source], arrivals: Arrivals) -> AsyncIterator[None]:
    """A subscription to each of these sessions."""

    async def read(subscription: vagus.Subscription) -> None:
        async for delivery in subscription:
            arrivals.take(delivery.session_id, delivery.sequence)
            await delivery.ack()

    async with AsyncExitStack() as stack:
        opened = [
            await stack.enter_async_context(where.client.subscribe(vagus.Filter(sessions=(one.session_id,))))
            for one in sources
        ]
        async with anyio.create_task_group() as tasks:
            for subscription in opened:
                tasks.start_soon(read, subscription)
            yield
            tasks.cancel_scope.cancel()


async def _stored(where: Place) -> int:
    """Events in the firehose."""
    answer = await where.client.bus.api(f"STREAM.INFO.{where.client.subjects.named('EVENTS')}")
    state = answer["state"]
    return int(state["messages"]) if isinstance(state, dict) else 0
