"""Commits and lines: nothing missing, nothing twice, nothing changed since it was written."""

from typing import Final

from blake3 import blake3
from msgspec.structs import replace

from chaos.checker.event import BranchCreated, Event, Illegible, SessionCreated, Unreadable, read
from chaos.checker.log import Message
from chaos.checker.names import MAIN, Names
from chaos.checker.report import Notes, Rule

_PREFIX: Final = "blake3:"
_KIND: Final = b',"kind":'
_BYTES: Final = 32
_MOST_MISSING: Final = 1_000_000
"""A line that is further ahead is not believed."""


class Chain:
    """The commits of one session, in order. Keeps 32 bytes an event: a fork may begin at any of them."""

    def __init__(self, notes: Notes, names: Names, ids: set[bytes]) -> None:
        self._notes = notes
        self._names = names
        self._ids = ids
        self._digests: dict[str, bytearray] = {}
        self._last = 0
        self._agent: str | None = None

    @property
    def branches(self) -> int:
        """How many there are."""
        return len(self._digests)

    def head(self, branch: str) -> int:
        """The sequence of a branch's last event; 0: there is no such branch."""
        return len(self._digests.get(branch, b"")) // _BYTES

    def take(self, message: Message) -> list[Event]:
        """Check one commit; returns its events without those that repeat what was there."""
        notes, where = self._notes, f"commit {message.sequence}"
        if message.sequence != self._last + 1:
            notes.say(Rule.STREAM, f"{where} follows {self._last}: what stood between is gone")
        self._last = message.sequence
        events = self._read(message, where)
        if events:
            self._check_headers(message, events, where)
        fresh = [event for event in events if self._is_next(event, where)]
        if len(fresh) < len(events):
            odd = next(event for event in events if event not in fresh)
            notes.say(Rule.SEQUENCE, f"{where} has it, and the branch is elsewhere: it is left out", odd)
        return fresh

    def _read(self, message: Message, where: str) -> list[Event]:
        *lines, rest = message.data.split(b"\n")
        if rest or not lines:
            self._notes.say(Rule.COMMIT, f"{where} is not made of lines that end with a newline")
            lines += [rest] if rest else []
        events: list[Event] = []
        for line in lines:
            try:
                events.append(read(line))
            except Unreadable as error:
                self._notes.say(Rule.EVENT, f"{where} holds a line that is no event: {error}")
        if any(event.branch_id != events[0].branch_id for event in events):
            self._notes.say(Rule.COMMIT, f"{where} holds events of several branches", events[0])
            events = [replace(event, branch_id=events[0].branch_id) for event in events]
        return events

    def _check_headers(self, message: Message, events: list[Event], where: str) -> None:
        first, last = events[0], events[-1]
        due = {
            "Vagus-First": str(first.sequence),
            "Vagus-Last": str(last.sequence),
            "Vagus-Kinds": ",".join(event.word for event in events),
            "Nats-Msg-Id": last.event_id,
        }
        for name, value in due.items():
            said = message.headers.get(name)
            if said != value:
                self._notes.say(Rule.COMMIT, f"{where} has {name} {said!r}, its lines say {value!r}", first)
        subject = self._names.commit(self._notes.session, first.branch_id)
        if message.subject != subject:
            self._notes.say(Rule.COMMIT, f"{where} has the subject {message.subject}, not {subject}", first)

    def _is_next(self, event: Event, where: str) -> bool:
        """Chain the event to its branch; False: the branch is further already, or nowhere near."""
        branch, head = event.branch_id, self.head(event.branch_id)
        if event.sequence <= head or event.sequence > head + _MOST_MISSING:
            if event.sequence == head:  # what follows may be chained to either
                self._digests[branch][-_BYTES:] = _stored(event.digest)
            return False
        if event.sequence > head + 1:
            self._notes.say(Rule.SEQUENCE, f"{where} has it where {head + 1} should stand", event)
            missing = (event.sequence - 1 - head) * _BYTES
            self._digests.setdefault(branch, bytearray()).extend(bytes(missing))
        previous = self._previous(event)
        if previous is not None and (computed := _digest(previous, event)) != event.digest:
            text = f"the line is not as it was written: digest {event.digest!r}, computed {computed}"
            self._notes.say(Rule.DIGEST, text, event)
        self._digests.setdefault(branch, bytearray()).extend(_stored(event.digest))
        self._check_identity(event)
        return True

    def _previous(self, event: Event) -> str | None:
        """The digest that the event is chained to: empty if to nothing, None if it is not known."""
        chain = self._digests.get(event.branch_id)
        return self._begin(event) if chain is None else _text(chain[-_BYTES:])

    def _begin(self, event: Event) -> str | None:
        notes, kind = self._notes, event.kind
        if isinstance(kind, BranchCreated) and event.branch_id != MAIN:
            parent, fork = kind.from_branch, kind.fork_point_seq
            if kind.new_branch_id != event.branch_id:
                notes.say(Rule.FORK, f"it creates {kind.new_branch_id}", event)
            if fork > self.head(parent):
                notes.say(
                    Rule.FORK, f"it forks at {fork} of {parent}, which is at {self.head(parent)}", event
                )
                return None
            return _text(self._digests[parent][(fork - 1) * _BYTES : fork * _BYTES]) if fork else ""
        if not isinstance(kind, SessionCreated) or event.branch_id != MAIN:
            notes.say(Rule.FORK, f"the branch begins with {event.type}", event)
        return ""

    def _check_identity(self, event: Event) -> None:
        notes = self._notes
        if event.session_id != notes.session:
            notes.say(Rule.EVENT, f"it says it belongs to session {event.session_id}", event)
        if self._agent is None:
            self._agent = event.agent_id
        if event.agent_id != self._agent:
            notes.say(Rule.EVENT, f"it is of agent {event.agent_id}, the session's is {self._agent}", event)
        known = len(self._ids)
        self._ids.add(_short(event.event_id))
        if len(self._ids) == known:
            notes.say(Rule.EVENT, f"the event id {event.event_id} was used before", event)
        if isinstance(event.kind, Illegible):
            notes.say(Rule.EVENT, f"it is no {event.type}: {event.kind.problem}", event)


def _digest(previous: str, event: Event) -> str:
    """Over the digest before, a newline, and the line without its own."""
    own = b',"digest":"%b"' % event.digest.encode()
    bare = event.line.replace(own + _KIND, _KIND, 1)
    return _PREFIX + blake3(b"%b\n%b" % (previous.encode(), bare)).hexdigest()


def _text(digest: bytearray) -> str | None:
    return _PREFIX + digest.hex() if any(digest) else None


def _stored(digest: str) -> bytes:
    """What the next line was chained to, as the log says; zeros if it says nothing of the kind."""
    try:
        found = bytes.fromhex(digest.removeprefix(_PREFIX))
    except ValueError:
        found = b""
    return found if len(found) == _BYTES else bytes(_BYTES)


def _short(event_id: str) -> bytes:
    """An id in as few bytes as it needs: all of them are kept."""
    try:
        return bytes.fromhex(event_id.replace("-", ""))
    except ValueError:
        return event_id.encode()
