"""What a commit costs, beside raw publishing of the same bytes on the same server."""

from collections.abc import Callable, Coroutine
from functools import partial
from pathlib import Path
from time import perf_counter
from uuid import uuid4

import anyio
import nats
from nats.js import JetStreamContext

from benchmarks.figures import CommitFigures, spread
from benchmarks.machine import load
from vagus.contract.codec import Sealed, seal
from vagus.contract.events import Actor, ActorType, EventRecord, Message
from vagus.contract.subjects import Subjects
from vagus.runtime.bus import connect
from vagus.runtime.embedded import Durability, EmbeddedServer
from vagus.runtime.eventlog import At, NoStream
from vagus.runtime.jetstream_log import JetStreamLog

EVENTS = (1, 8, 23)
WRITERS = (1, 16)
WARM_UP = 20
TURNS = 10
TURNS_QUICK = 2
BLOCK = 100
"""Writes of all writers in one turn."""
_ACTOR = Actor(type=ActorType.SYSTEM, component="benchmark")
_TEXT = "x" * 21
"""Makes a line of 450 bytes, which is what the events of a tick have on average."""


class Writer:
    """Writes one session's log, and beside it another stream with nothing but a publish."""

    def __init__(self, log: JetStreamLog, raw: JetStreamContext, subjects: Subjects, name: str) -> None:
        self._log = log
        self._raw = raw
        self._session = name
        self._raw_session = f"raw-{name}"
        self._raw_subject = subjects.log(self._raw_session, "main")
        self._sequence = 0
        self._head = 0
        self._digest = ""
        self._payload = b""
        self._sealed: list[Sealed] = []
        self.commits: list[float] = []
        self.publishes: list[float] = []
        self.seals: list[float] = []

    async def prepare(self, events: int) -> int:
        """Make the streams and warm up; returns the bytes of one payload."""
        await self._log.create(self._session)
        await self._log.create(self._raw_session)
        self.seal(WARM_UP, events)
        await self.commit()
        await self.publish(WARM_UP)
        for times in (self.commits, self.publishes, self.seals):
            times.clear()
        return len(self._payload)

    def seal(self, rounds: int, events: int) -> None:
        """Make ready what the next `commit` writes."""
        for _ in range(rounds):
            records = [record(self._session, self._sequence + n + 1) for n in range(events)]
            began = perf_counter()
            sealed = seal(records, self._digest)
            self.seals.append(perf_counter() - began)
            self._sequence += events
            self._digest = sealed.digest
            self._sealed.append(sealed)

    async def commit(self) -> None:
        """Commit what is sealed, one after the other."""
        for sealed in self._sealed:
            expected = At(self._head) if self._head else NoStream()
            began = perf_counter()
            self._head = await self._log.commit(self._session, "main", sealed, expected)
            self.commits.append(perf_counter() - began)
        self._payload = self._sealed[-1].payload
        self._sealed.clear()

    async def publish(self, rounds: int) -> None:
        """Publish the bytes of the last commit, one after the other."""
        for _ in range(rounds):
            began = perf_counter()
            await self._raw.publish(self._raw_subject, self._payload)
            self.publishes.append(perf_counter() - began)


def record(session_id: str, sequence: int) -> EventRecord:
    """An event as ticks have them on average."""
    return EventRecord(
        event_id=str(uuid4()),
        session_id=session_id,
        branch_id="main",
        sequence=sequence,
        timestamp="2026-01-01T00:00:00.123456789Z",
        actor=_ACTOR,
        kind=Message(role="assistant", content=_TEXT, model="benchmark"),
    )


async def measure(folder: Path, durability: Durability, *, quick: bool) -> list[CommitFigures]:
    """All sizes, by one writer and by many."""
    subjects = Subjects()
    found: list[CommitFigures] = []
    async with EmbeddedServer(folder / "nats", durability=durability) as server:
        client = await nats.connect(server.url)
        try:
            async with connect(server.url, name="benchmark") as bus:
                log, raw = JetStreamLog(bus, subjects), client.jetstream()
                for count in WRITERS:
                    for events in EVENTS:
                        names = [f"c{count}-{events}-{n}" for n in range(count)]
                        writers = [Writer(log, raw, subjects, name) for name in names]
                        found.append(await _measure(writers, events, TURNS_QUICK if quick else TURNS))
        finally:
            await client.close()
    return found


async def _measure(writers: list[Writer], events: int, turns: int) -> CommitFigures:
    """Blocks of commits and blocks of publishes in turn, so that a change of the machine's mood hits both."""
    before = load()
    sizes = [await writer.prepare(events) for writer in writers]
    rounds = max(1, BLOCK // len(writers))
    commit_s = raw_s = 0.0
    for _ in range(turns):
        for writer in writers:
            writer.seal(rounds, events)
        commit_s += await _together([writer.commit for writer in writers])
        raw_s += await _together([partial(writer.publish, rounds) for writer in writers])
    commit = spread([time for writer in writers for time in writer.commits])
    raw = spread([time for writer in writers for time in writer.publishes])
    return CommitFigures(
        events=events,
        writers=len(writers),
        payload_bytes=sizes[0],
        load_before=before,
        commit=commit,
        raw=raw,
        seal=spread([time for writer in writers for time in writer.seals]),
        events_per_s=round(events * commit.count / commit_s, 1),
        raw_events_per_s=round(events * raw.count / raw_s, 1),
        ratio_p50=round(commit.p50_ms / raw.p50_ms, 2),
    )


async def _together(work: list[Callable[[], Coroutine[object, object, None]]]) -> float:
    """Seconds until all are done."""
    began = perf_counter()
    async with anyio.create_task_group() as tasks:
        for one in work:
            tasks.start_soon(one)
    return perf_counter() - began
