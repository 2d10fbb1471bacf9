"""How far a session's events are in the firehose: told by its last message there, else by a note."""

from contextlib import aclosing
from typing import Final

import msgspec

from vagus.contract.clock import parse
from vagus.contract.errors import Conflict, Malformed, Unavailable
from vagus.contract.messages import decode
from vagus.contract.streams import RELAYED
from vagus.contract.subjects import Subjects
from vagus.runtime import clock
from vagus.runtime.bucket import Bucket
from vagus.runtime.bus import ApiError, Bus
from vagus.runtime.eventlog import EventLog
from vagus.runtime.graves import Graves
from vagus_relay.settings import Beginning

SEQUENCE: Final = "Vagus-Sequence"
"""Header of an event: its sequence on its branch."""
COMMIT: Final = "Vagus-Commit"
"""Header of an event: the place of its commit in the session's log."""
_BEGUN: Final = "begun.at"
"""No session's key: those have no dot."""
_NO_MESSAGE: Final = 10037


class Cursor(msgspec.Struct, frozen=True):
    """A place in a session's log: what is up to here is in the firehose."""

    commit: int = 0
    sequence: int = 0
    """Of the last event there, on its branch."""
    whole: bool = True
    """Whether that event is known to be the last of its commit."""

    def __lt__(self, other: "Cursor") -> bool:
        return (self.commit, self.sequence) < (other.commit, other.sequence)

    @property
    def next(self) -> int:
        """The first commit that may hold what comes after it."""
        return self.commit + 1 if self.whole else self.commit


class Standing(msgspec.Struct, frozen=True):
    """A session in the firehose."""

    cursor: Cursor
    place: int = 0
    """Where its last message is, or was, in the firehose's stream; 0: there was none."""


class _Note(msgspec.Struct, frozen=True):
    """A standing as it is noted: always at the end of a commit."""

    commit: int
    sequence: int
    place: int


class _Begun(msgspec.Struct, frozen=True):
    """How the firehose was begun: with everything, or with what is committed from a time on."""

    at: str
    since: str | None = None


class _Message(msgspec.Struct):
    seq: int
    hdrs: bytes = b""


class _State(msgspec.Struct):
    last_seq: int


class _Info(msgspec.Struct):
    state: _State


class Cursors:
    """Of all sessions. Every method may raise `Unavailable` and `OutcomeUnknown`."""

    def __init__(self, bus: Bus, subjects: Subjects, log: EventLog) -> None:
        self._bus = bus
        self._bucket = Bucket(bus, subjects.named(RELAYED))
        self._graves = Graves(bus, subjects)
        self._log = log
        self._stream = subjects.named("EVENTS")
        self._subjects = subjects
        self._since: str | None = None

    async def begin(self, beginning: Beginning) -> None:
        """Agree with all other relays, of today and of later, where the firehose begins."""
        now = clock.now()
        wanted = _Begun(at=now, since=now if beginning is Beginning.NEW else None)
        try:
            await self._bucket.create(_BEGUN, msgspec.json.encode(wanted))
            self._since = wanted.since
        except Conflict:
            entry = await self._bucket.get(_BEGUN, fresh=True)
            if entry is not None:
                self._since = decode(entry.value, _Begun).since

    async def end(self) -> int:
        """The last place in the firehose's stream, as its leader knows it."""
        return msgspec.convert(await self._bus.api(f"STREAM.INFO.{self._stream}"), _Info).state.last_seq

    async def notes(self) -> dict[str, Standing]:
        """What is noted of all sessions: never ahead of the firehose, some seconds behind it."""
        entries = [entry for entry in await self._bucket.entries() if entry.key != _BEGUN]
        end = await self.end()
        noted = {entry.key: _noted(entry.value) for entry in entries}
        return {session_id: standing for session_id, standing in noted.items() if standing.place <= end}

    async def note(self, session_id: str, standing: Standing) -> None:
        """Note it, for when the session's events have left the firehose by age.

        Who stood still meanwhile may do so when the session has been erased: nothing of that stays.
        """
        note = _Note(standing.cursor.commit, standing.cursor.sequence, standing.place)
        await self._bucket.put(session_id, msgspec.json.encode(note))
        if await self._graves.find(session_id) is not None:
            wanted = {"filter": self._subjects.key(RELAYED, session_id)}
            await self._bus.api(f"STREAM.PURGE.KV_{self._bucket.name}", wanted)

    async def read(self, session_id: str, known: Standing | None) -> Standing:
        """Where a session stands. Where the firehose has no event of it (any more), `known` counts as a note.

        What names a place beyond the end of the firehose is not believed: that was made anew, or has lost it.
        """
        found = await self._last(session_id)
        if found is not None:
            return found
        entry = await self._bucket.get(session_id, fresh=True)
        told = [] if entry is None else [_noted(entry.value)]
        if known is not None:
            told.append(known)
        if told:
            end = await self.end()
            told = [standing for standing in told if standing.place <= end]
        best = max(
            told, key=lambda standing: (standing.cursor.commit, standing.cursor.sequence), default=None
        )
        return Standing(await self._first(session_id) if best is None else best.cursor)

    async def _last(self, session_id: str) -> Standing | None:
        """By its last message in the firehose, from the stream's leader."""
        wanted = {"last_by_subj": self._subjects.event(session_id)}
        try:
            answer = await self._bus.api(f"STREAM.MSG.GET.{self._stream}", wanted)
        except ApiError as error:
            if error.err_code == _NO_MESSAGE:
                return None
            raise
        message = msgspec.convert(answer["message"], _Message)
        headers = _headers(message.hdrs)
        try:
            cursor = Cursor(int(headers[COMMIT]), int(headers[SEQUENCE]), whole=False)
        except (KeyError, ValueError) as error:
            raise Malformed(f"message {message.seq} of {self._stream} was put there by no relay") from error
        return Standing(cursor, message.seq)

    async def _first(self, session_id: str) -> Cursor:
        """Before the first commit that is to be relayed, found by halving."""
        if self._since is None:
            return Cursor()
        since = parse(self._since)
        low, high = 0, await self._log.head(session_id)
        while low < high:
            middle = (low + high) // 2
            if await self._committed_at(session_id, middle + 1) < since:
                low = middle + 1
            else:
                high = middle
        return Cursor(low)

    async def _committed_at(self, session_id: str, sequence: int) -> int:
        """By the time of its first event, nanoseconds since the epoch."""
        async with aclosing(self._log.commits(session_id, after=sequence - 1, until=sequence)) as commits:
            async for commit in commits:
                return parse(commit.records()[0].timestamp)
        raise Unavailable(f"commit {sequence} of session {session_id} cannot be read")


def _noted(value: bytes) -> Standing:
    note = decode(value, _Note)
    return Standing(Cursor(note.commit, note.sequence), note.place)


def _headers(block: bytes) -> dict[str, str]:
    lines = block.decode(errors="replace").split("\r\n")
    return {name: value.strip() for name, colon, value in (line.partition(":") for line in lines) if colon}
