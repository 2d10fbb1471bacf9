"""One event of a session's log, as a client reads it."""

from dataclasses import dataclass

from vagus.contract.events import EventKind, EventRecord
from vagus.runtime.eventlog import Commit


@dataclass(frozen=True, slots=True)
class Event:
    """An event record, its bytes, and where reading can go on after it."""

    record: EventRecord
    line: bytes
    """The record as the log holds it, without the newline."""
    cursor: int
    """Of the commit that holds this event: `session.events(cursor=…)` goes on after that whole commit."""

    @property
    def kind(self) -> EventKind:
        """What happened."""
        return self.record.kind

    @property
    def type(self) -> str:
        """The name of the kind, such as `ToolCallRequested`; of an unknown kind too."""
        return self.record.kind.type

    @property
    def event_id(self) -> str:
        """Unique over all sessions."""
        return self.record.event_id

    @property
    def session_id(self) -> str:
        """The session."""
        return self.record.session_id

    @property
    def branch_id(self) -> str:
        """The branch."""
        return self.record.branch_id

    @property
    def sequence(self) -> int:
        """Counts from 1 on each branch, without gaps."""
        return self.record.sequence

    @property
    def agent_id(self) -> str:
        """The session's one agent."""
        return self.record.agent_id

    @property
    def digest(self) -> str | None:
        """Chains the event to the one before it."""
        return self.record.digest

    @property
    def timestamp(self) -> str:
        """RFC 3339, UTC."""
        return self.record.timestamp

    @property
    def correlation_id(self) -> str | None:
        """The command id of the tick that it belongs to."""
        return self.record.correlation_id

    @property
    def causation_id(self) -> str | None:
        """The event or command that led to it."""
        return self.record.causation_id


def events_of(commit: Commit) -> list[Event]:
    """The events of a commit, in order."""
    return [
        Event(record=record, line=line, cursor=commit.stream_sequence)
        for record, line in zip(commit.records(), commit.lines(), strict=True)
    ]
