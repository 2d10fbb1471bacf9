"""`react(session) -> effects`: everything that is still owed. The same state owes the same effects.

The driver performs what it has not yet performed and forgets what is no longer owed; a new owner, which has
performed nothing, performs it all. So recovery is no path of its own.
"""

from collections.abc import Iterator

from vagus.contract import clock
from vagus.contract.approvals import ApprovalTicket, TicketState
from vagus.contract.messages import GateRequest
from vagus.contract.models import ConversationTurn, ModelCompletionRequest
from vagus.contract.tools import ToolCall
from vagus_kernel.effects import AskApproval, AskGate, CallModel, Owed, RunTool
from vagus_kernel.state import Branch, Gating, Running, Session, Thinking, Ticket, Turn, WaitingCall


def react(session: Session, *, approval_timeout_s: float) -> Iterator[Owed]:
    """All effects that the state owes, each with an id that stays the same until it is answered."""
    for branch in session.branches.values():
        if branch.turn is not None:
            yield from _turn(session, branch, branch.turn)
        for waiting in branch.waiting:
            for ticket in waiting.tickets:
                if ticket.decision is None:
                    yield AskApproval(
                        effect_id=ticket.approval_id,
                        ticket=ticket_of(session, branch, waiting, ticket, approval_timeout_s),
                    )


def _turn(session: Session, branch: Branch, turn: Turn) -> Iterator[Owed]:
    match turn.stage:
        case Thinking():
            yield CallModel(
                effect_id=turn.run_id,
                branch_id=branch.branch_id,
                request=model_request(session, branch, turn),
            )
        case Gating() as gating:
            yield AskGate(
                effect_id=gating.effect_id,
                branch_id=branch.branch_id,
                request=GateRequest(
                    effect_id=gating.effect_id,
                    attempt=1,
                    session_id=session.session_id,
                    branch_id=branch.branch_id,
                    tool_run_id=gating.tool_run_id,
                    call=gating.call,
                    policy_version=session.policy_version,
                    tickets=gating.tickets,
                ),
            )
        case Running() as running:
            yield RunTool(
                effect_id=running.effect_id,
                session_id=session.session_id,
                branch_id=branch.branch_id,
                tool_run_id=running.tool_run_id,
                call=running.call,
                deadline=running.deadline,
                grant=running.grant,
                cancelling=turn.cancelling,
                started=running.started,
                priority=turn.priority,
            )


def model_request(session: Session, branch: Branch, turn: Turn) -> ModelCompletionRequest:
    """What the model is asked: the conversation before this turn, and the objective once."""
    before = turn.before
    history = before.history
    if before.speaking:
        history = (*history, *_spoken(before.speaking))
    return ModelCompletionRequest(
        session_id=session.session_id,
        branch_id=branch.branch_id,
        run_id=turn.run_id,
        step_index=0,
        objective=turn.objective,
        system_prompt=turn.system_prompt,
        allowed_tools=turn.allowed_tools,
        conversation_history=history,
        call_index=branch.model_calls - 1,
    )


def _spoken(text: str) -> tuple[ConversationTurn, ...]:
    return (ConversationTurn(role="assistant", content=text),)


def ticket_of(
    session: Session, branch: Branch, waiting: WaitingCall, ticket: Ticket, timeout_s: float
) -> ApprovalTicket:
    """The ticket as people see it."""
    call: ToolCall = waiting.call
    return ApprovalTicket(
        approval_id=ticket.approval_id,
        session_id=session.session_id,
        call_id=call.call_id,
        tool_name=call.tool_name,
        capability=ticket.capability,
        reason=f"approval required for tool {call.tool_name}",
        created_at=ticket.requested_at,
        branch_id=branch.branch_id,
        tool_run_id=waiting.tool_run_id,
        arguments=call.input,
        risk=ticket.risk,
        expires_at=clock.plus(ticket.requested_at, timeout_s),
        state=TicketState.PENDING,
    )
