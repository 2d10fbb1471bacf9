"""What becomes of a ticket: the rules, without I/O.

    (none) --(asked)--> pending --(approve)--> approved
                        pending --(deny)--> denied
                        pending --(any answer, after it expired)--> timeout
    (none) or pending --(withdrawn)--> withdrawn

Every state but pending is final.
"""

from dataclasses import dataclass

from msgspec.structs import replace

from vagus.contract.approvals import Answer, ApprovalDecision, ApprovalTicket, Resolution, TicketState
from vagus.contract.clock import format_ns, parse
from vagus.contract.errors import Malformed
from vagus.contract.ids import check_id

ACTOR_CHARS = 256
REASON_CHARS = 4096
"""Of an answer; it stands on the log from then on."""

_DECIDED = {
    TicketState.APPROVED: ApprovalDecision.APPROVED,
    TicketState.DENIED: ApprovalDecision.DENIED,
    TicketState.TIMEOUT: ApprovalDecision.TIMEOUT,
}


@dataclass(frozen=True, slots=True)
class Settlement:
    """What an answer does."""

    ticket: ApprovalTicket
    """As it stands afterwards."""
    changed: bool
    """The ticket must be stored."""
    ours: bool
    """It is this answer that ended the ticket, now or when it came before."""


def check_ticket(ticket: ApprovalTicket, session: str) -> None:
    """Refuse a ticket that cannot be kept: `Malformed` says why."""
    if ticket.session_id != session:
        raise Malformed(f"a ticket of session {ticket.session_id!r} among those of {session!r}")
    check_id("approval id", ticket.approval_id)
    parse(ticket.expires_at)
    if ticket.state not in (TicketState.PENDING, TicketState.WITHDRAWN):
        raise Malformed(f"a ticket is asked for or withdrawn, not {ticket.state.value}")


def check_answer(answer: Answer) -> None:
    """Refuse an answer that the log should not hold: `Malformed` says why."""
    if len(answer.actor) > ACTOR_CHARS:
        raise Malformed(f"the actor's name is longer than {ACTOR_CHARS} characters")
    if len(answer.reason) > REASON_CHARS:
        raise Malformed(f"the reason is longer than {REASON_CHARS} characters")


def ask(said: ApprovalTicket, kept: ApprovalTicket | None, now_ns: int) -> ApprovalTicket:
    """The ticket as it stands after the kernel has asked for it or withdrawn it; `kept` is what there was."""
    if kept is not None and (said.state is TicketState.PENDING or kept.state is not TicketState.PENDING):
        return kept
    if said.state is TicketState.WITHDRAWN:
        # also when it was never asked for: the question may still be on its way
        return replace(kept or said, state=TicketState.WITHDRAWN, resolved_at=format_ns(now_ns))
    return said


def settle(ticket: ApprovalTicket, answer: Answer, now_ns: int) -> Settlement:
    """What `answer` does to `ticket`. Its id must be unique: the same answer settles a ticket once."""
    if ticket.state is not TicketState.PENDING:
        return Settlement(ticket, changed=False, ours=ticket.resolved_answer == answer.answer_id)
    ended = replace(ticket, resolved_at=format_ns(now_ns), resolved_answer=answer.answer_id)
    if now_ns >= parse(ticket.expires_at):
        return Settlement(replace(ended, state=TicketState.TIMEOUT), changed=True, ours=True)
    if answer.decision is ApprovalDecision.TIMEOUT:
        return Settlement(ticket, changed=False, ours=False)
    given = replace(
        ended,
        state=TicketState(answer.decision.value),
        resolved_by=answer.actor or None,
        resolved_reason=answer.reason or None,
    )
    return Settlement(given, changed=True, ours=True)


def resolution_of(ticket: ApprovalTicket) -> Resolution | None:
    """What the kernel is told of a ticket; None while it is pending, and if the kernel withdrew it."""
    decision = _DECIDED.get(ticket.state)
    if decision is None:
        return None
    return Resolution(
        approval_id=ticket.approval_id,
        decision=decision,
        actor=ticket.resolved_by or "",
        reason=ticket.resolved_reason or "",
    )
