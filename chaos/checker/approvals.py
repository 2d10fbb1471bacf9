"""Tickets: each is resolved at most once, on its own branch, and as people have answered it."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from chaos.checker.event import ApprovalRequested, ApprovalResolved, CallGranted, Event
from chaos.checker.report import Notes, Rule
from chaos.checker.tools import Call, Calls

APPROVED: Final = "approved"
PENDING: Final = "pending"
_ANSWERED: Final = (APPROVED, "denied", "timeout")


@dataclass(slots=True, eq=False)
class Ticket:
    """One capability of a call that waits for people."""

    requested: Event
    call: Call | None
    resolved: Event | None = None
    decision: str = ""


class Approvals:
    """Of one session; `known` are the ids of all sessions' tickets."""

    def __init__(self, notes: Notes, calls: Calls, known: set[str]) -> None:
        self._notes = notes
        self._calls = calls
        self._known = known
        self._tickets: dict[str, Ticket] = {}
        self.resumed: Call | None = None
        """The call whose wait has ended with the event that was taken last."""

    def take(self, event: Event) -> None:
        """One event."""
        self.resumed = None
        match event.kind:
            case ApprovalRequested() as kind:
                self._request(event, kind)
            case ApprovalResolved() as kind:
                self._resolve(event, kind)
            case CallGranted(tool_run_id=run_id):
                self._check_grant(event, run_id)

    def waits(self, call: Call) -> bool:
        """Whether somebody has yet to answer."""
        return any(not self._tickets[ticket].decision for ticket in call.tickets)

    def _request(self, event: Event, kind: ApprovalRequested) -> None:
        if kind.approval_id in self._known:
            self._notes.say(Rule.APPROVAL, f"the ticket {kind.approval_id} was opened before", event)
            return
        self._known.add(kind.approval_id)
        self._notes.counts.approvals += 1
        call = self._calls.find(event.branch_id, kind.call_id)
        if call is None or call.ended is not None:
            text = f"the ticket {kind.approval_id} is for the call {kind.call_id}, which does not wait"
            self._notes.say(Rule.APPROVAL, text, event)
            call = None
        else:
            call.tickets.append(kind.approval_id)
        self._tickets[kind.approval_id] = Ticket(event, call)

    def _resolve(self, event: Event, kind: ApprovalResolved) -> None:
        name, ticket = f"the ticket {kind.approval_id}", self._tickets.get(kind.approval_id)
        if ticket is None:
            self._notes.say(Rule.APPROVAL, f"{name} is resolved, and was never opened", event)
            return
        if ticket.resolved is not None:
            text = f"{name} is resolved a second time, first at {ticket.resolved.sequence}"
            self._notes.say(Rule.APPROVAL, text, event)
            return
        if event.branch_id != ticket.requested.branch_id:
            self._notes.say(Rule.APPROVAL, f"{name} is of branch {ticket.requested.branch_id}", event)
        ticket.resolved, ticket.decision = event, kind.decision
        call = ticket.call
        if call is None or call.ended is not None:
            self._notes.say(Rule.APPROVAL, f"{name} is resolved, and its call has ended", event)
        elif kind.decision != APPROVED or not self.waits(call):
            self.resumed = call
            self._calls.resume(call)

    def _check_grant(self, event: Event, run_id: str) -> None:
        call = self._calls.run(run_id)
        for ticket in call.tickets if call is not None else ():
            if self._tickets[ticket].decision != APPROVED:
                text = f"the tool run {run_id} is granted, and its ticket {ticket} is not approved"
                self._notes.say(Rule.APPROVAL, text, event)

    def end(self, states: Mapping[str, str], *, unfinished: bool) -> None:
        """Compare with the tickets as the approvers keep them; `unfinished`: the system is at work."""
        for ticket_id, ticket in self._tickets.items():
            self._compare(ticket_id, ticket, states.get(ticket_id, ""), unfinished=unfinished)
        for ticket_id in states.keys() - self._tickets.keys():
            self._notes.say(Rule.APPROVAL, f"the ticket {ticket_id} is not on the log, and people are asked")

    def _compare(self, ticket_id: str, ticket: Ticket, state: str, *, unfinished: bool) -> None:
        name, event = f"the ticket {ticket_id}", ticket.requested
        if ticket.decision:
            answered = state in (*_ANSWERED, PENDING) and ticket.decision in (APPROVED, "timeout")
            if answered and state != ticket.decision:
                text = f"{name} is {ticket.decision} on the log, and {state} where people answer"
                self._notes.say(Rule.APPROVAL, text, ticket.resolved)
            return
        if unfinished:
            return
        if ticket.call is None or ticket.call.ended is not None:
            if state == PENDING:
                self._notes.say(Rule.APPROVAL, f"{name} still asks people, and its call has ended", event)
        elif state in _ANSWERED:
            self._notes.say(Rule.APPROVAL, f"{name} was answered, {state}, and its call still waits", event)
        elif state == PENDING:
            self._notes.say(Rule.APPROVAL, f"{name} still waits for an answer", event)
        else:
            self._notes.say(Rule.APPROVAL, f"{name} is {state or 'nowhere'}, and its call still waits", event)
