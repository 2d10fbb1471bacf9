"""Tickets are answered, and turns and waiting calls are cancelled."""

from vagus.contract.approvals import ApprovalDecision
from vagus.contract.errors import Busy, VagusError
from vagus.contract.events import ApprovalResolved, RunErrored, ToolCallFailed
from vagus.contract.extensions import CancelRequested, TicksDropped
from vagus_kernel import homeostasis
from vagus_kernel.decide import turn
from vagus_kernel.decide.draft import Decision, Draft, Outcome, Rejected
from vagus_kernel.decide.tick import writable
from vagus_kernel.effects import WithdrawTicket
from vagus_kernel.inputs import ApprovalResolved as Resolved
from vagus_kernel.inputs import CancelTurn, Context
from vagus_kernel.react import ticket_of
from vagus_kernel.state import Branch, Gating, Running, Session, Turn, WaitingCall


def resolve(session: Session, given: Resolved, context: Context) -> Outcome:
    """One ticket is answered; the last approval of a call resumes it, one denial ends it."""
    said = given.resolution
    found = session.waiting_for(said.approval_id)
    if found is None:
        return Decision(session)
    branch, call = found
    if branch.turn is not None:
        return Rejected(Busy(f"{busy(branch)}: a call is resumed when that has ended"))
    draft = Draft(session, branch.branch_id, context, causation=said.approval_id, command_id=call.command_id)
    words = f"{said.actor}: {said.reason}" if said.reason else said.actor
    draft.emit(ApprovalResolved(approval_id=said.approval_id, decision=said.decision, reason=words or None))
    if said.decision is ApprovalDecision.APPROVED:
        return draft.decision()
    if said.decision is ApprovalDecision.DENIED:
        text = f"approval denied by {said.actor or 'somebody'}: {said.reason or 'no reason given'}"
    else:
        text = "approval timed out"
    _end_call(draft, branch, call, text, answered=said.approval_id)
    return draft.decision()


def _end_call(draft: Draft, branch: Branch, call: WaitingCall, text: str, *, answered: str = "") -> None:
    """A person's no is not an error: no penalty."""
    threshold = draft.context.config.circuit_breaker_errors
    mode = homeostasis.estimate_mode(draft.vector, draft.branch.pending, threshold)
    turn.raise_mode(draft, mode, text)
    draft.emit(ToolCallFailed(call_id=call.call.call_id, tool_name=call.call.tool_name, error=text))
    turn.end(draft)
    session = draft.session
    draft.withdraw += [
        WithdrawTicket(ticket=ticket_of(session, branch, call, ticket, timeout_s=0))
        for ticket in call.tickets
        if ticket.decision is None and ticket.approval_id != answered
    ]


def cancel(session: Session, given: CancelTurn, context: Context) -> Outcome:
    """End the turn in progress (of that command, if one is named) and, if asked, the calls that wait.

    Ticks that waited are written down, so that they do not begin elsewhere.
    """
    branch = session.branches.get(given.branch_id)
    if branch is None:
        return Decision(session)
    draft = Draft(session, given.branch_id, context, causation=given.by or given.command_id)
    requested = CancelRequested(actor=given.actor, command_id=given.by).event()
    turn = branch.turn
    if turn is not None and given.command_id in (None, turn.command_id) and not turn.cancelling:
        draft.emit(requested)
        _stop(draft)
    if draft.state is not None and draft.branch.turn is None:
        calls = [c for c in draft.branch.waiting if given.tickets or c.command_id == given.command_id]
        if calls and not draft.records and given.by is not None:
            draft.emit(requested)
        for call in calls:
            _withdraw(draft, call)
    if given.dropped and not isinstance(writable(session, given.branch_id), VagusError):
        fact = TicksDropped(dropped=given.dropped, actor=given.actor, command_id=given.by)
        draft.emit(fact.event())  # where nothing can be written, nothing can begin
    return draft.decision()


def _stop(draft: Draft) -> None:
    match draft.turn.stage:
        case Running():
            return  # the tool is told to stop; its report, or the proof that it never ran, ends the turn
        case Gating(call=call):
            text = "cancelled"
            draft.emit(ToolCallFailed(call_id=call.call_id, tool_name=call.tool_name, error=text))
    if not draft.turn.resumed:
        draft.emit(RunErrored(error="cancelled"))
    turn.end(draft)


def _withdraw(draft: Draft, call: WaitingCall) -> None:
    branch = draft.branch
    draft.on_behalf_of(call.command_id)
    first = next(ticket for ticket in call.tickets if ticket.decision is None)
    draft.emit(
        ApprovalResolved(approval_id=first.approval_id, decision=ApprovalDecision.DENIED, reason="cancelled")
    )
    _end_call(draft, branch, call, "cancelled")


def busy(branch: Branch) -> str | None:
    """Why a branch cannot be merged or closed now."""
    match branch.turn:
        case Turn():
            return f"branch {branch.branch_id} has a tick in progress"
    if branch.waiting:
        return f"branch {branch.branch_id} has approvals pending"
    return None
