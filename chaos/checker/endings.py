"""Merged branches and closed sessions: nothing is written to them any more, not even a takeover."""

from chaos.checker.chain import Chain
from chaos.checker.event import BranchMerged, Event, SessionClosed
from chaos.checker.report import Notes, Rule


class Endings:
    """Of one session."""

    def __init__(self, notes: Notes, chain: Chain) -> None:
        self._notes = notes
        self._chain = chain
        self._closed: int | None = None
        """The sequence of main's SessionClosed."""
        self._merged: dict[str, str] = {}
        """Branches, and the ones that they were merged into."""

    @property
    def closed(self) -> bool:
        """Whether the session is."""
        return self._closed is not None

    def merged(self, branch: str) -> bool:
        """Whether a branch is."""
        return branch in self._merged

    def commit(self, events: list[Event]) -> None:
        """Something is written."""
        first = events[0]
        if self._closed is not None:
            self._notes.say(Rule.CLOSED, f"{first.type} is written after SessionClosed", first)
        elif first.branch_id in self._merged:
            into = self._merged[first.branch_id]
            self._notes.say(Rule.MERGED, f"{first.type} is written after the merge into {into}", first)

    def take(self, event: Event) -> None:
        """Merge or close."""
        match event.kind:
            case SessionClosed():
                self._closed = event.sequence
            case BranchMerged(source_branch_id=source, merge_seq=sequence):
                head = self._chain.head(source)
                if sequence != head:
                    text = f"{source} is merged at {sequence}, and stands at {head}"
                    self._notes.say(Rule.MERGED, text, event)
                self._merged[source] = event.branch_id
