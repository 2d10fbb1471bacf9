"""Turns, and the ticks that began them: each accepted one ended once, and its reply said so."""

from dataclasses import dataclass, field
from typing import Final

from chaos.checker.accepted import Accepted, Reply
from chaos.checker.approvals import APPROVED, Approvals
from chaos.checker.endings import Endings
from chaos.checker.event import (
    ApprovalResolved,
    CancelRequested,
    Event,
    PhaseEntered,
    RunStarted,
    TicksDropped,
    TurnStarted,
)
from chaos.checker.names import MAIN
from chaos.checker.output import output
from chaos.checker.report import Notes, Rule

_OF_A_TURN: Final = frozenset(
    (
        "PhaseEntered", "DeliberationProposed", "RunStarted", "RunFinished", "RunErrored", "StepStarted",
        "StepFinished", "TextDelta", "Message", "ToolCallRequested", "ToolCallStarted", "ToolCallCompleted",
        "ToolCallFailed", "PolicyEvaluated", "ApprovalRequested", "ApprovalResolved", "FileMutated",
        "StateEstimated", "BudgetUpdated", "CheckpointCreated", "CircuitBreakerTripped", "Heartbeat",
    )
)  # fmt: skip
"""Kinds that stand within a turn only, and carry its command id."""
_NO_ANSWER: Final = ("OutcomeUnknown", "Unavailable")
"""Errors of clients that had no reply."""
_NOT_SAID: Final = (*_NO_ANSWER, "Busy")
"""Errors that do not say that the tick will not run: it may, if it is delivered once more."""
_REASONS: Final = {"BudgetExceeded": "budget_exceeded"}
"""Why a tick ended whose reply is such an error; of all others, `error`."""


@dataclass(slots=True, eq=False)
class Turn:
    """A tick, or a call that people have answered, from its first event on."""

    command_id: str
    first: Event
    resumed: bool = False
    declined: bool = False
    """People have said no: what follows is no error."""
    cancelling: bool = False
    ran: bool = False
    failed: bool = False
    """Kept by whoever folds the state."""
    events: list[Event] = field(default_factory=list)
    """Of a tick."""


class Turns:
    """Of one session."""

    def __init__(
        self, notes: Notes, approvals: Approvals, endings: Endings, accepted: dict[str, Accepted]
    ) -> None:
        self._notes = notes
        self._approvals = approvals
        self._endings = endings
        self._accepted = accepted
        self._open: dict[str, Turn] = {}
        self._strayed: set[str] = set()
        """Branches on which an event outside of a turn was complained of."""
        self._began: dict[str, Event] = {}
        self._dropped: dict[str, Event] = {}
        """Ticks that were cancelled before they began."""
        self._creation: str | None = None

    def of(self, branch: str) -> Turn | None:
        """The turn in progress on a branch."""
        return self._open.get(branch)

    def take(self, event: Event) -> None:
        """One event."""
        if event.branch_id == MAIN and event.sequence == 1:
            self._creation = event.correlation_id
        match event.kind:
            case TicksDropped(dropped=dropped):
                self._dropped |= dict.fromkeys(dropped, event)
            case TurnStarted():
                self._begin(event, Turn(event.correlation_id or "", event))
            case ApprovalResolved(decision=decision) if (call := self._approvals.resumed) is not None:
                command_id = call.requested.correlation_id or ""
                declined = decision != APPROVED
                self._begin(event, Turn(command_id, event, resumed=True, declined=declined))
        turn = self._open.get(event.branch_id)
        if event.type in _OF_A_TURN:
            self._place(event, turn)
        if turn is not None:
            self._continue(event, turn)

    def _begin(self, event: Event, turn: Turn) -> None:
        earlier = self._open.get(event.branch_id)
        if earlier is not None:
            text = f"a turn of {turn.command_id} begins, and that of {earlier.command_id} has not ended"
            self._notes.say(Rule.TURN, text, event)
        self._open[event.branch_id] = turn
        self._strayed.discard(event.branch_id)
        if turn.resumed:
            return
        known = self._began.setdefault(turn.command_id, event)
        if known is not event:
            at = f"{known.branch_id} {known.sequence}"
            self._notes.say(Rule.TICK, f"the tick {turn.command_id} begins again, after {at}", event)
        if turn.command_id in self._dropped:
            at = f"{event.branch_id} {self._dropped[turn.command_id].sequence}"
            self._notes.say(Rule.TICK, f"the tick {turn.command_id} begins, and was cancelled at {at}", event)

    def _place(self, event: Event, turn: Turn | None) -> None:
        """Complain of an event that is in no turn, or in another command's."""
        if turn is not None:
            if event.correlation_id != turn.command_id:
                text = f"{event.type} of {event.correlation_id} in the turn of {turn.command_id}"
                self._notes.say(Rule.TURN, text, event)
        elif self._creation is not None and event.correlation_id == self._creation:
            self._creation = None  # a new session sleeps
        elif not isinstance(event.kind, ApprovalResolved) and event.branch_id not in self._strayed:
            self._strayed.add(event.branch_id)
            self._notes.say(Rule.TURN, f"{event.type} stands outside of any turn", event)

    def _continue(self, event: Event, turn: Turn) -> None:
        if not turn.resumed and event.correlation_id == turn.command_id:
            turn.events.append(event)
        match event.kind:
            case RunStarted():
                turn.ran = True
            case CancelRequested():
                turn.cancelling = True

    def close(self, event: Event) -> None:
        """Everybody has seen the event: a turn ends with its sleep."""
        if isinstance(event.kind, PhaseEntered) and event.kind.phase == "sleep":
            turn = self._open.pop(event.branch_id, None)
            if turn is not None and not turn.resumed:
                self._end_tick(turn)

    def _end_tick(self, turn: Turn) -> None:
        self._notes.counts.ticks += 1
        accepted = self._accepted.get(turn.command_id)
        if accepted is None or self._began.get(turn.command_id) is not turn.first:
            return
        last = turn.events[-1]
        if last.branch_id != accepted.branch_id:
            text = f"the tick {turn.command_id} was meant for {accepted.branch_id}"
            self._notes.say(Rule.TICK, text, last)
            return
        if accepted.replies:
            self._compare(turn.command_id, accepted.replies, output(turn.events), last)

    def _compare(self, command_id: str, replies: list[Reply], said: dict[str, object], last: Event) -> None:
        """Each reply with what the log says; a refusal is no longer true when the tick was sent once more."""
        outputs = [reply.ok for reply in replies if reply.ok is not None]
        refusals = [reply.error for reply in replies if reply.error is not None and not outputs]
        self._notes.counts.replies += len(outputs) + len(refusals)
        for told in outputs:
            wrong = [
                f"{name} {told.get(name)!r}, not {due!r}"
                for name, due in said.items()
                if told.get(name) != due
            ]
            if wrong:
                self._notes.say(Rule.REPLY, f"the reply to {command_id} said {'; '.join(wrong)}", last)
        for error in refusals:
            told_so = (said["reason"], said["error"]) == (_REASONS.get(error.type, "error"), error.message)
            if not told_so and error.type not in _NOT_SAID:
                text = f"the reply to {command_id} was {error.type} ({error.message}), and it ran to its end"
                self._notes.say(Rule.REPLY, text, last)

    def end(self, *, unfinished: bool) -> None:
        """The log ends here; `unfinished`: the system is at work."""
        for branch, turn in self._open.items() if not unfinished else ():
            text = f"the turn of {turn.command_id} that began at {turn.first.sequence} has no end"
            self._notes.say(Rule.TURN, text, branch=branch)
        for command_id, accepted in self._accepted.items():
            if command_id not in self._began:
                self._check_unbegun(command_id, accepted, unfinished=unfinished)

    def _check_unbegun(self, command_id: str, accepted: Accepted, *, unfinished: bool) -> None:
        """It must have been refused, or there must be a reason why it was, if nobody heard so."""
        errors = [reply.error for reply in accepted.replies if reply.error is not None]
        if any(reply.ok is not None for reply in accepted.replies):
            text = f"the tick {command_id} was answered, and nothing of it is on the log"
            self._notes.say(Rule.REPLY, text, branch=accepted.branch_id)
            return
        refused = any(error.type not in _NO_ANSWER for error in errors) or command_id in self._dropped
        if refused or self._endings.closed or self._endings.merged(accepted.branch_id):
            self._notes.counts.refused += 1
        elif not unfinished:
            text = f"the tick {command_id} was accepted, and nothing of it is on the log"
            self._notes.say(Rule.TICK, text, branch=accepted.branch_id)
