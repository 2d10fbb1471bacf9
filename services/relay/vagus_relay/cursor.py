"""How far a session's events are in the firehose: told by its last message there, else by a note."""

from typing import Final

import msgspec

from vagus.contract.errors import Conflict, Malformed
from vagus.contract.messages import decode
from vagus.contract.streams import RELAYED
from vagus.contract.subjects import Subjects
from vagus.runtime import clock
from vagus.runtime.bucket import Bucket
from vagus.runtime.bus import ApiError, Bus
from vagus.runtime.eventlog import EventLog
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
    place: int
    """Where its last message is in the firehose's stream; 0: there is none."""


class _Note(msgspec.Struct, frozen=True):
    commit: int
    sequence: int


class _Begun(msgspec.Struct, frozen=True):
    """How the firehose was begun: with everything, or with what is stored from a time on."""

    at: str
    since: str | None = None


class _Message(msgspec.Struct):
    seq: int
    hdrs: bytes = b""


class Cursors:
    """Of all sessions."""

    def __init__(self, bus: Bus, subjects: Subjects, log: EventLog) -> None:
        self._bus = bus
        self._bucket = Bucket(bus, subjects.named(RELAYED))
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

    async def notes(self) -> dict[str, Cursor]:
        """What is noted of all sessions: never ahead of the firehose, some seconds behind it."""
        return {
            entry.key: _noted(entry.value) for entry in await self._bucket.entries() if entry.key != _BEGUN
        }

    async def note(self, session_id: str, cursor: Cursor) -> None:
        """Note it, for when the session's events have left the firehose by age."""
        note = _Note(cursor.commit, cursor.sequence)
        await self._bucket.put(session_id, msgspec.json.encode(note))

    async def read(self, session_id: str, known: Cursor | None) -> Standing:
        """Where a session stands; `known` counts where the firehose has no event of it (any more).

        Raises:
            SessionNotFound: It has no log, and no events in the firehose.
            Unavailable, OutcomeUnknown: The server does not answer.
        """
        found = await self._last(session_id)
        if found is not None:
            return found
        entry = await self._bucket.get(session_id, fresh=True)
        noted = None if entry is None else _noted(entry.value)
        if known is not None and (noted is None or noted < known):
            noted = known
        return Standing(noted if noted is not None else await self._first(session_id), 0)

    async def _last(self, session_id: str) -> Standing | None:
        """By its last message in the firehose, from the stream's leader."""
        wanted = {"last_by_subj": self._subjects.event(session_id)}
        message = await self._message(self._stream, wanted)
        if message is None:
            return None
        headers = _headers(message.hdrs)
        try:
            cursor = Cursor(int(headers[COMMIT]), int(headers[SEQUENCE]), whole=False)
        except (KeyError, ValueError) as error:
            raise Malformed(f"message {message.seq} of {self._stream} was put there by no relay") from error
        return Standing(cursor, message.seq)

    async def _first(self, session_id: str) -> Cursor:
        """Before the first event that is to be relayed."""
        if self._since is None:
            return Cursor()
        head = await self._log.head(session_id)
        stream = self._subjects.session_stream(session_id)
        first = await self._message(stream, {"start_time": self._since})
        return Cursor(head if first is None else first.seq - 1)

    async def _message(self, stream: str, wanted: dict[str, str]) -> _Message | None:
        try:
            answer = await self._bus.api(f"STREAM.MSG.GET.{stream}", wanted)
        except ApiError as error:
            if error.err_code == _NO_MESSAGE:
                return None
            raise
        return msgspec.convert(answer["message"], _Message)


def _noted(value: bytes) -> Cursor:
    note = decode(value, _Note)
    return Cursor(note.commit, note.sequence)


def _headers(block: bytes) -> dict[str, str]:
    lines = block.decode(errors="replace").split("\r\n")
    return {name: value.strip() for name, colon, value in (line.partition(":") for line in lines) if colon}
