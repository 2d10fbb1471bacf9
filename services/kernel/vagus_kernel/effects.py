"""What the kernel owes the world, as data. The driver performs it after the commit that justifies it."""

from dataclasses import dataclass
from typing import TypeAlias

from vagus.contract.approvals import ApprovalTicket
from vagus.contract.messages import GateRequest
from vagus.contract.models import ModelCompletionRequest
from vagus.contract.tools import Priority, ToolCall


@dataclass(frozen=True, slots=True, kw_only=True)
class AskGate:
    """May this call run? Answered by a verdict with the same effect id."""

    effect_id: str
    branch_id: str
    request: GateRequest


@dataclass(frozen=True, slots=True, kw_only=True)
class CallModel:
    """Answered by a ModelAnswer with the same run id."""

    effect_id: str
    branch_id: str
    request: ModelCompletionRequest


@dataclass(frozen=True, slots=True, kw_only=True)
class RunTool:
    """Answered by a report with the same effect id, or by its deadline."""

    effect_id: str
    session_id: str
    branch_id: str
    tool_run_id: str
    call: ToolCall
    deadline: str
    grant: str
    cancelling: bool
    started: bool = False
    """A runner has said that it runs."""
    priority: Priority = Priority.NORMAL


@dataclass(frozen=True, slots=True, kw_only=True)
class AskApproval:
    """Ask people; done once the queue of tickets has stored it."""

    effect_id: str
    ticket: ApprovalTicket


@dataclass(frozen=True, slots=True, kw_only=True)
class WithdrawTicket:
    """Nobody need answer any more."""

    ticket: ApprovalTicket


Owed: TypeAlias = AskGate | CallModel | RunTool | AskApproval
