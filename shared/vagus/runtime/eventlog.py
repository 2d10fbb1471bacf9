"""The log of a session: the port that the kernel writes through and everybody reads through.

A log is a sequence of commits. Commits of all branches share one numbering, the stream sequence, which
counts from 1 without gaps; the events inside count on their branch. `memory_log` and `jetstream_log` are its
adapters.
"""

from collections.abc import AsyncGenerator, Iterable
from typing import Final, Protocol, TypeAlias

import msgspec

from vagus.contract.codec import Sealed, decode_commit, split_lines
from vagus.contract.errors import Refused
from vagus.contract.events import Custom, EventRecord

HEADERS_BYTES: Final = 1024
"""What the headers of a message with one event take at most; an event may have all the rest."""


class NoStream(msgspec.Struct, frozen=True):
    """Expect that the log holds nothing yet."""

    @property
    def sequence(self) -> int:
        """The stream sequence that this means: 0."""
        return 0


class At(msgspec.Struct, frozen=True):
    """Expect that the last commit has this stream sequence."""

    sequence: int


Expected: TypeAlias = NoStream | At
"""What a writer believes of the log; a commit on another state of it is a `Conflict`."""


class Commit(msgspec.Struct, frozen=True, kw_only=True):
    """Events of one branch, stored together.

    A commit that was too long for one message is read as several of these, one after the other.
    """

    session_id: str
    branch_id: str
    stream_sequence: int
    """Its place in the session's log; reading on after it resumes there."""
    first: int
    """Sequence of its first event on the branch."""
    last: int
    """Sequence of its last event on the branch."""
    payload: bytes
    """NDJSON, as stored."""
    stored_at: str
    """RFC 3339, UTC, by the store's clock."""
    traceparent: str | None = None
    """The trace that it was committed in; kept by JetStream only."""

    def records(self) -> list[EventRecord]:
        """Its events; raises `Malformed` if a line is not an event."""
        return decode_commit(self.payload)

    def lines(self) -> list[bytes]:
        """Its lines as stored, without their newlines."""
        return split_lines(self.payload)


class EventLog(Protocol):
    """All session logs.

    Every method raises `SessionNotFound` where the session has no log, and may raise `Unavailable`: the store
    does not answer, and nothing was changed. Close the generators (`contextlib.aclosing`) when leaving early.
    """

    async def create(self, session_id: str) -> None:
        """Make the session's log; does nothing if there is one."""
        ...

    async def commit(
        self,
        session_id: str,
        branch_id: str,
        sealed: Sealed,
        expected: Expected,
        *,
        traceparent: str | None = None,
    ) -> int:
        """Append events of one branch, all or none, if the log is as `expected`; returns its new head.

        When this returns, the events are durable. Repeating a call whose outcome was lost is safe: if these
        very bytes already follow `expected`, their sequence is returned and nothing is stored twice.

        Raises:
            Conflict: The log is not as expected, another writer was first; or the last event's id was
                committed already, in other bytes or elsewhere. Nothing was stored.
            OutcomeUnknown: The acknowledgement was lost and the question could not be settled in time.
            Refused: One event is longer than the store takes. Nothing was stored.
            Busy: The store is full. Nothing was stored.
        """
        ...

    async def head(self, session_id: str) -> int:
        """The stream sequence of the last commit, never out of date; 0 if there is none."""
        ...

    def commits(
        self, session_id: str, *, after: int = 0, until: int | None = None
    ) -> AsyncGenerator[Commit, None]:
        """Commits of all branches in order, those with `after < stream_sequence <= until`.

        It ends at the head as of the call; nothing that was committed before the call is missing. It holds
        one page in memory at a time. Raises `Malformed` where the store has lost the next commit, or has it
        damaged.
        """
        ...

    async def read(
        self, session_id: str, branch_id: str, *, from_sequence: int = 1, limit: int = 200
    ) -> list[EventRecord]:
        """At most `limit` events of a branch, from `from_sequence` on; empty if the branch has none there.

        On a replicated store it may be a moment behind.
        """
        ...

    def follow(
        self, session_id: str, *, branch_id: str | None = None, after: int = 0
    ) -> AsyncGenerator[Commit, None]:
        """Commits after the stream sequence `after`: first those stored, then live ones, for ever.

        Without gap or duplicate, also across lost connections. Of one branch, or of all when it is None.
        """
        ...


def events_from(commits: Iterable[Commit], from_sequence: int, limit: int) -> list[EventRecord]:
    """At most `limit` events with at least `from_sequence` out of consecutive commits of one branch."""
    found: list[EventRecord] = []
    for commit in commits:
        if len(found) >= limit:
            break
        if commit.last >= from_sequence:
            found += (record for record in commit.records() if record.sequence >= from_sequence)
    return found[: max(limit, 0)]


def split(sealed: Sealed, max_payload: int) -> tuple[Sealed, ...]:
    """The events of a commit as parts that each fit a message of `max_payload` bytes, headers included.

    An eighth is left to the headers, whose length is that of the kinds' names. One event is never split:
    raises `Refused` where it is too long for a message of its own.
    """
    room = max_payload - max_payload // 8
    if len(sealed.payload) <= room:
        return (sealed,)
    most = max_payload - HEADERS_BYTES
    for record, line in zip(sealed.records, sealed.lines, strict=True):
        if len(line) >= most:
            name = record.kind.event_type if isinstance(record.kind, Custom) else record.kind.type
            raise Refused(f"{name} of {len(line)} bytes is over the limit of {most} for one event")
    parts: list[Sealed] = []
    start, size = 0, 0
    for end, line in enumerate(sealed.lines):
        if end > start and size + len(line) + 1 > room:
            parts.append(_part(sealed, start, end))
            start, size = end, 0
        size += len(line) + 1
    parts.append(_part(sealed, start, len(sealed.lines)))
    return tuple(parts)


def _part(sealed: Sealed, start: int, end: int) -> Sealed:
    records, lines = sealed.records[start:end], sealed.lines[start:end]
    payload = b"\n".join(lines) + b"\n"
    return Sealed(records=records, lines=lines, payload=payload, digest=records[-1].digest or "")
