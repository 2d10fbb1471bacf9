"""The firehose against the logs: of every session the same lines, none missing, none twice."""

from collections.abc import AsyncGenerator, AsyncIterator, Callable, Collection, Container, Sequence
from contextlib import aclosing, asynccontextmanager
from typing import Final

import anyio
import msgspec

from chaos.checker.buckets import entries
from chaos.checker.event import Event
from chaos.checker.log import Message, Source
from chaos.checker.names import EVENTS, RELAYED, Names
from chaos.checker.report import Findings, Notes, Rule

LOOK_S: Final = 0.2
_BEGUN: Final = "begun.at"
_SEQUENCE: Final = "Vagus-Sequence"
_COMMIT: Final = "Vagus-Commit"


class _Begun(msgspec.Struct, frozen=True):
    """How the firehose was begun; of other keys of its bucket nothing is read."""

    at: str = ""
    since: str | None = None
    """None: with everything; else with what was committed from then on."""


class Firehose:
    """The stream that relays fill, read session by session beside the session's log."""

    def __init__(self, source: Source, names: Names, *, begun: _Begun, trimmed: bool, wait_s: float) -> None:
        self._source = source
        self._names = names
        self._until = anyio.current_time() + wait_s
        self.begun_at: Final = begun.at
        self.whole: Final = not trimmed and begun.since is None
        """Whether it must have the first events of every session."""

    @asynccontextmanager
    async def beside(self, notes: Notes) -> AsyncIterator["Copy"]:
        """What it has of one session."""

        def after(place: int) -> AsyncGenerator[Message, None]:
            return self.messages(notes.session, after=place)

        copy = Copy(notes, self._names, after, until=self._until, whole=self.whole)
        try:
            yield copy
        finally:
            await copy.close()

    def messages(self, session: str, *, after: int = 0) -> AsyncGenerator[Message, None]:
        """All messages of a session."""
        stream = self._names.stream(EVENTS)
        return self._source.messages(stream, after=after, subject=self._names.events(session))

    async def strangers(self, findings: Findings, known: Container[str]) -> None:
        """Complain of sessions that are nowhere else."""
        told: set[str] = set()
        async with aclosing(self._source.subjects(self._names.stream(EVENTS))) as subjects:
            async for subject in subjects:
                session = self._names.named_in(subject) or ""
                if session not in known and session not in told:
                    told.add(session)
                    findings.say(Rule.FIREHOSE, "the firehose has events of it, and there is no log", session)


async def firehose(source: Source, names: Names, streams: Collection[str], wait_s: float) -> Firehose | None:
    """None where no relay has ever run. It may be behind for so long from now on, over all sessions."""
    if names.stream(EVENTS) not in streams:
        return None
    begun = _Begun()
    if names.bucket(RELAYED) in streams:
        async with aclosing(entries(source, names, RELAYED, _Begun)) as found:
            async for key, value in found:
                begun = value if key == _BEGUN else begun
    trimmed = await source.trimmed(names.stream(EVENTS))
    return Firehose(source, names, begun=begun, trimmed=trimmed, wait_s=wait_s)


class Copy:
    """One session's events in the firehose, compared with its log, of both a page in memory."""

    def __init__(
        self,
        notes: Notes,
        names: Names,
        read: Callable[[int], AsyncGenerator[Message, None]],
        *,
        until: float,
        whole: bool,
    ) -> None:
        self._notes = notes
        self._names = names
        self._read = read
        self._messages = read(0)
        self._until = until
        self._begun = whole
        """Whether what is missing from now on was not dropped with the beginning."""
        self._next: Message | None = None
        self._last = 0
        self._gap: list[Event] = []
        """Of the events that are missing here, the first and the last."""
        self._missing = 0

    async def take(self, place: int, events: Sequence[Event]) -> None:
        """The next commit of the log."""
        for event in events:
            due = (place, event.sequence)
            there = await self._look(wait=True)
            while there is not None and _position(there) < due:
                text = f"the firehose has its message {there.sequence} out of order, or once more"
                self._notes.say(Rule.FIREHOSE, text, event)
                self._next = None
                there = await self._look(wait=True)
            if there is None or _position(there) > due:
                self._gap = [*self._gap[:1], event]
                self._missing += 1
            else:
                self._close_gap()
                self._compare(place, event, there)
                self._next, self._begun = None, True

    async def end(self) -> None:
        """The log has ended; so must this have."""
        self._close_gap()
        more = 0
        while await self._look(wait=False) is not None:
            self._next = None
            more += 1
        if more:
            self._notes.say(Rule.FIREHOSE, f"the firehose has {more} messages that are not on the log")

    async def close(self) -> None:
        """Nothing more is read."""
        await self._messages.aclose()

    async def _look(self, *, wait: bool) -> Message | None:
        """The next message; with `wait` a relay may still bring it."""
        while self._next is None:
            self._next = await anext(self._messages, None)
            if self._next is not None:
                self._last = self._next.sequence
            elif not wait or anyio.current_time() >= self._until:
                return None
            else:
                await anyio.sleep(LOOK_S)
                self._messages = self._read(self._last)
        return self._next

    def _close_gap(self) -> None:
        """Say once what is missing here, unless the firehose begins behind it."""
        if self._gap and self._begun:
            last = self._gap[-1]
            text = f"the firehose lacks {self._missing} events, to {last.branch_id} {last.sequence}"
            self._notes.say(Rule.FIREHOSE, text, self._gap[0])
        elif self._gap:
            self._notes.counts.trimmed += 1
        self._gap, self._missing = [], 0

    def _compare(self, place: int, event: Event, there: Message) -> None:
        self._notes.counts.relayed += 1
        due = {
            "subject": self._names.event(self._notes.session, event.branch_id, event.word),
            "Nats-Msg-Id": event.event_id,
            "line": event.line.decode(errors="replace"),
        }
        said = {
            "subject": there.subject,
            "Nats-Msg-Id": there.headers.get("Nats-Msg-Id"),
            "line": there.data.decode(errors="replace"),
        }
        wrong = [name for name in due if said[name] != due[name]]
        if wrong:
            text = f"message {there.sequence} of the firehose differs from the log: {', '.join(wrong)}"
            self._notes.say(Rule.FIREHOSE, text, event)


def _position(message: Message) -> tuple[int, int]:
    """Where its event stands on the log: commit, sequence on the branch; zeros if it does not say."""
    try:
        return int(message.headers[_COMMIT]), int(message.headers[_SEQUENCE])
    except (KeyError, ValueError):
        return 0, 0
