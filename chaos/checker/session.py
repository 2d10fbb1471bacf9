"""One session: its commits are taken one by one, every rule looks at every event."""

from chaos.checker.accepted import Accepted
from chaos.checker.approvals import Approvals
from chaos.checker.chain import Chain
from chaos.checker.endings import Endings
from chaos.checker.event import Event
from chaos.checker.ledger import Ledger
from chaos.checker.log import Message
from chaos.checker.names import Names
from chaos.checker.report import Notes
from chaos.checker.states import States
from chaos.checker.tools import Call, Calls
from chaos.checker.turns import Turns


class Seen:
    """What must be unique over all sessions."""

    def __init__(self) -> None:
        self.events: set[bytes] = set()
        self.tickets: set[str] = set()


class Session:
    """The check of one session."""

    def __init__(self, notes: Notes, names: Names, seen: Seen, accepted: dict[str, Accepted]) -> None:
        self._notes = notes
        self._chain = Chain(notes, names, seen.events)
        self._endings = Endings(notes, self._chain)
        self._calls = Calls(notes)
        self._approvals = Approvals(notes, self._calls, seen.tickets)
        self._turns = Turns(notes, self._approvals, self._endings, accepted)
        self._states = States(notes, self._calls, self._turns)

    def take(self, message: Message) -> list[Event]:
        """The next commit; returns its events, but those that the log had already."""
        events = self._chain.take(message)
        counts = self._notes.counts
        counts.commits += 1
        counts.events += len(events)
        if events:
            self._endings.commit(events)
        for event in events:
            self._endings.take(event)
            self._calls.take(event)
            self._approvals.take(event)
            self._turns.take(event)
            self._states.take(event)
            self._turns.close(event)
            self._states.close(event)
        return events

    def end(self, tickets: dict[str, str], ledger: Ledger | None, *, unfinished: bool) -> None:
        """There are no more commits. `tickets` are their states as approvers keep them."""
        counts = self._notes.counts
        counts.sessions += self._chain.branches > 0
        counts.branches += self._chain.branches
        counts.calls += len(self._calls)
        counts.tool_runs += sum(call.granted for call in self._calls)
        self._turns.end(unfinished=unfinished)
        self._approvals.end(tickets, unfinished=unfinished)
        if not unfinished:
            self._calls.end(besides=lambda call: self._approvals.waits(call) or self._in_turn(call))
        if ledger is not None:
            ledger.check(self._notes, self._calls, unfinished=unfinished)

    def _in_turn(self, call: Call) -> bool:
        return self._turns.of(call.branch) is not None
