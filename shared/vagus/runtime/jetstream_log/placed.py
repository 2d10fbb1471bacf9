"""`EventLog` on JetStream: a log is a stream, or in the archive; whoever reads need not know which."""

from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import aclosing
from typing import Final, TypeVar

import anyio

from vagus.contract.archives import Placement
from vagus.contract.codec import Sealed
from vagus.contract.errors import Conflict, NotFound, SessionErased, SessionNotFound, Unavailable
from vagus.contract.events import EventRecord
from vagus.contract.subjects import Subjects
from vagus.runtime.archive.hot import HotStreams
from vagus.runtime.archive.parts import Parts
from vagus.runtime.archive.placements import Placements
from vagus.runtime.archive.reader import ArchiveReader
from vagus.runtime.bus import Bus
from vagus.runtime.eventlog import Commit, Expected
from vagus.runtime.graves import Graves
from vagus.runtime.jetstream_log.log import HotLog
from vagus.runtime.jetstream_log.names import StreamNames
from vagus.runtime.jetstream_log.writer import SETTLE_S

T = TypeVar("T")

MOVES: Final = 4
"""So often a log may be found to have moved meanwhile."""
LOOK_S: Final = 1.0
"""How often a follower of an archived log looks whether it was restored."""


class JetStreamLog:
    """An `EventLog` on JetStream.

    A log is looked for where it was last; only when it is not there is it asked where it is.

    Args:
        bus: The connection.
        subjects: The names.
        direct: Read by direct gets: faster, and permitted to kernels only.
        replicas: Of new streams.
        settle_s: How long a commit whose acknowledgement was lost is asked after.
    """

    def __init__(
        self,
        bus: Bus,
        subjects: Subjects,
        *,
        direct: bool = False,
        replicas: int = 1,
        settle_s: float = SETTLE_S,
    ) -> None:
        self._names = StreamNames(subjects)
        self._hot = HotLog(bus, subjects, self._names, direct=direct, replicas=replicas, settle_s=settle_s)
        self._placements = Placements(bus, subjects)
        self._graves = Graves(bus, subjects)
        self._parts = Parts(bus, subjects)
        self._streams = HotStreams(bus, subjects, replicas)

    async def create(self, session_id: str) -> None:
        """See `EventLog.create`.

        Raises:
            Conflict: A log of this session was archived or moved.
            SessionErased: The session was erased, or is to be.
        """
        await self._hot.create(session_id)
        try:
            await self._graves.check(session_id)  # now: what is ordered from here on finds the stream
        except SessionErased:
            await self._streams.remove(session_id, self._names.generation(session_id))
            raise
        found = await self._placements.find(session_id)
        if found.placement.archived or found.placement.generation:
            await self._streams.remove(session_id, 0)  # it was made just now, and is not the log
            raise Conflict(f"session {session_id} exists: its log was archived")

    async def commit(
        self,
        session_id: str,
        branch_id: str,
        sealed: Sealed,
        expected: Expected,
        *,
        traceparent: str | None = None,
    ) -> int:
        """See `EventLog.commit`. Raises `Conflict` if the log is in the archive."""

        async def archived(_: Placement) -> int:
            raise Conflict(f"the log of {session_id} was archived meanwhile")

        return await self._wherever(
            session_id,
            lambda: self._hot.commit(session_id, branch_id, sealed, expected, traceparent=traceparent),
            archived,
        )

    async def head(self, session_id: str) -> int:
        """See `EventLog.head`."""

        async def archived(placement: Placement) -> int:
            return placement.stream_sequence

        return await self._wherever(session_id, lambda: self._hot.head(session_id), archived)

    async def commits(
        self, session_id: str, *, after: int = 0, until: int | None = None
    ) -> AsyncGenerator[Commit, None]:
        """See `EventLog.commits`."""
        for _ in range(MOVES):
            commits = self._hot.commits(session_id, after=after, until=until)
            try:
                async with aclosing(commits):
                    async for commit in commits:
                        yield commit
                        after = commit.stream_sequence
                return
            except SessionNotFound as missing:
                placement = await self._found(session_id, missing)
            if placement is None:
                continue
            try:
                async with aclosing(
                    self._reader(session_id, placement).commits(after=after, until=until)
                ) as kept:
                    async for commit in kept:
                        yield commit
                        after = commit.stream_sequence
                return
            except NotFound:
                continue  # it was restored meanwhile
        raise await self._nowhere(session_id)

    async def read(
        self, session_id: str, branch_id: str, *, from_sequence: int = 1, limit: int = 200
    ) -> list[EventRecord]:
        """See `EventLog.read`."""
        return await self._wherever(
            session_id,
            lambda: self._hot.read(session_id, branch_id, from_sequence=from_sequence, limit=limit),
            lambda placement: self._reader(session_id, placement).read(branch_id, from_sequence, limit),
        )

    async def follow(
        self, session_id: str, *, branch_id: str | None = None, after: int = 0
    ) -> AsyncGenerator[Commit, None]:
        """See `EventLog.follow`."""
        while True:
            placement: Placement | None = None
            try:
                async with aclosing(
                    self._hot.follow(session_id, branch_id=branch_id, after=after)
                ) as commits:
                    async for commit in commits:
                        yield commit
                        after = commit.stream_sequence
            except SessionNotFound as missing:
                placement = await self._found(session_id, missing)
            if placement is None:
                continue
            try:
                async with aclosing(self._reader(session_id, placement).commits(after=after)) as kept:
                    async for commit in kept:
                        if branch_id in (None, commit.branch_id):
                            yield commit
                        after = commit.stream_sequence
            except NotFound:  # it was restored meanwhile, or is being erased
                await self._graves.check(session_id)
            await anyio.sleep(LOOK_S)

    async def _wherever(
        self,
        session_id: str,
        hot: Callable[[], Awaitable[T]],
        archived: Callable[[Placement], Awaitable[T]],
    ) -> T:
        """What the stream gives, wherever it is, or the archive."""
        for _ in range(MOVES):
            try:
                return await hot()
            except SessionNotFound as missing:
                placement = await self._found(session_id, missing)
            if placement is not None:
                try:
                    return await archived(placement)
                except NotFound:
                    continue
        raise await self._nowhere(session_id)

    async def _found(self, session_id: str, missing: SessionNotFound) -> Placement | None:
        """Where an archived log is; None if its stream is another one than was thought. Raises `missing`."""
        placement = (await self._placements.find(session_id)).placement
        if placement.archived:
            return placement
        if placement.generation == self._names.generation(session_id):
            await self._graves.check(session_id)
            raise missing
        self._names.learn(session_id, placement.generation)
        return None

    async def _nowhere(self, session_id: str) -> Unavailable:
        """What is said of a log that is not where its entry says: somebody moves it, or erases it.

        Raises:
            SessionErased: An erasure was ordered. It removes the archived parts before it removes the entry.
        """
        await self._graves.check(session_id)
        return Unavailable(f"the log of {session_id} is being moved: ask again")

    def _reader(self, session_id: str, placement: Placement) -> ArchiveReader:
        return ArchiveReader(self._parts, session_id, placement)
