"""The logs that are streams now."""

from collections.abc import AsyncGenerator
from functools import partial
from typing import Final

import anyio
import msgspec

from vagus.contract import limits
from vagus.contract.codec import Sealed
from vagus.contract.errors import Malformed, OutcomeUnknown, Unavailable
from vagus.contract.events import EventRecord
from vagus.contract.streams import session_log
from vagus.contract.subjects import Subjects
from vagus.runtime.bus import ApiError, Bus
from vagus.runtime.eventlog import Commit, Expected, events_from
from vagus.runtime.jetstream_log.names import StreamNames
from vagus.runtime.jetstream_log.pages import ConsumerPages, DirectPages, Pages
from vagus.runtime.jetstream_log.patience import TRY_S, patiently
from vagus.runtime.jetstream_log.stored import NO_MESSAGE, read_error
from vagus.runtime.jetstream_log.tail import follow
from vagus.runtime.jetstream_log.writer import SETTLE_S, Writer
from vagus.runtime.provision import ensure_stream

_REREAD_S: Final = 0.05
_EVENTS_OF_A_COMMIT: Final = 8
"""About; with `_MARGIN` a guess of how many commits hold the events that are wanted."""
_MARGIN: Final = 8


class _State(msgspec.Struct):
    last_seq: int


class _Info(msgspec.Struct):
    state: _State


class HotLog:
    """An `EventLog` of those logs that are not archived.

    Args:
        bus: The connection.
        subjects: The names.
        names: Of the streams.
        direct: Read by direct gets: faster, and permitted to kernels only.
        replicas: Of new streams.
        settle_s: How long a commit whose acknowledgement was lost is asked after.
    """

    def __init__(
        self,
        bus: Bus,
        subjects: Subjects,
        names: StreamNames,
        *,
        direct: bool = False,
        replicas: int = 1,
        settle_s: float = SETTLE_S,
    ) -> None:
        self._bus = bus
        self._subjects = subjects
        self._names = names
        self._replicas = replicas
        self._pages: Pages = (DirectPages if direct else ConsumerPages)(bus, subjects, names)
        self._writer = Writer(bus, subjects, names, settle_s=settle_s)

    async def create(self, session_id: str) -> None:
        """See `EventLog.create`."""
        try:
            await ensure_stream(self._bus, session_log(self._subjects, session_id), self._replicas)
        except OutcomeUnknown as error:
            raise Unavailable(f"cannot tell whether the log of {session_id} was made: ask again") from error

    async def commit(
        self,
        session_id: str,
        branch_id: str,
        sealed: Sealed,
        expected: Expected,
        *,
        traceparent: str | None = None,
    ) -> int:
        """See `EventLog.commit`."""
        return await self._writer.commit(session_id, branch_id, sealed, expected, traceparent)

    async def head(self, session_id: str) -> int:
        """See `EventLog.head`. The stream's leader answers, so that it is never out of date."""
        question = f"STREAM.INFO.{self._names.of(session_id)}"

        async def ask() -> dict[str, object]:
            try:
                return await self._bus.api(question, timeout_s=TRY_S)
            except (ApiError, OutcomeUnknown, Unavailable) as error:
                raise read_error(session_id, error) from error

        return msgspec.convert(await patiently(self._bus, ask), _Info).state.last_seq

    async def commits(
        self, session_id: str, *, after: int = 0, until: int | None = None
    ) -> AsyncGenerator[Commit, None]:
        """See `EventLog.commits`."""
        head = await self.head(session_id)
        end = head if until is None else min(head, until)
        while after < end:
            for commit in await self._following(session_id, after, end - after):
                yield commit
                after = commit.stream_sequence

    async def read(
        self, session_id: str, branch_id: str, *, from_sequence: int = 1, limit: int = 200
    ) -> list[EventRecord]:
        """See `EventLog.read`."""
        read = partial(self._read, session_id, branch_id, from_sequence, limit)
        try:
            return await read()
        except Unavailable:
            await self.head(session_id)  # there is such a log, so that patience is not in vain
        return await patiently(self._bus, read)

    async def _read(
        self, session_id: str, branch_id: str, from_sequence: int, limit: int
    ) -> list[EventRecord]:
        start = 1 if from_sequence <= 1 else await self._locate(session_id, branch_id, from_sequence)
        events: list[EventRecord] = []
        while start is not None and (left := limit - len(events)) > 0:
            count = min(left, _MARGIN + left // _EVENTS_OF_A_COMMIT)
            page = await self._pages.page(session_id, branch_id, start, count)
            events += events_from(page, from_sequence, left)
            start = page[-1].stream_sequence + 1 if page else None
        return events

    def follow(
        self, session_id: str, *, branch_id: str | None = None, after: int = 0
    ) -> AsyncGenerator[Commit, None]:
        """See `EventLog.follow`."""
        return follow(self._bus, self._subjects, self._names, session_id, branch_id, after)

    async def _following(self, session_id: str, after: int, count: int) -> list[Commit]:
        """At least one commit after `after`, without a gap. It is known to be there, so a miss is retried.

        A replica that answers may be behind the leader, and replies are lost with a connection.
        """
        problem = "not on this replica yet"
        with anyio.move_on_after(limits.REQUEST_TIMEOUT_S):
            while True:
                try:
                    page = await self._pages.page(session_id, None, after + 1, count)
                except Unavailable as error:
                    problem = error.message
                else:
                    whole = [c for place, c in enumerate(page, after + 1) if c.stream_sequence == place]
                    if whole:
                        return whole
                    await self._check_kept(session_id, after + 1)
                await anyio.sleep(_REREAD_S)
        raise Unavailable(f"commit {after + 1} of session {session_id} cannot be read: {problem}")

    async def _check_kept(self, session_id: str, sequence: int) -> None:
        """Raise `Malformed` if the store has lost a commit that it had: a leader that has caught up knows."""
        stream = self._names.of(session_id)
        try:
            if await self.head(session_id) < sequence:
                return
            await self._bus.api(f"STREAM.MSG.GET.{stream}", {"seq": sequence})
        except ApiError as error:
            if error.err_code == NO_MESSAGE:
                raise Malformed(f"commit {sequence} of session {session_id} is lost or damaged") from error
        except (OutcomeUnknown, Unavailable):
            return  # nobody can say

    async def _locate(self, session_id: str, branch_id: str, sequence: int) -> int | None:
        """Where the commit stands that holds the branch's event `sequence`; None if there is none.

        A probe is dear: for a client it makes a consumer. So every other one is a guess from how dense the
        branch's events are, which mostly hits; those between halve what is left.
        """
        low, high = 1, await self.head(session_id)
        halving, density = True, 1.0
        while low <= high:
            guess = int((sequence - 1) / density) + 1
            place = (low + high) // 2 if halving else min(max(low, guess), high)
            found = await self._pages.page(session_id, branch_id, place, 1, bare=True)
            if not found or found[0].first > sequence:
                high = place - 1
            elif found[0].last < sequence:
                low = found[0].stream_sequence + 1
            else:
                return found[0].stream_sequence
            density = found[0].last / found[0].stream_sequence if found else density
            halving = not halving
        return None
