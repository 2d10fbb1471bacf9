"""Approvals: tickets that people answer, and their resolutions (fact sheet 1.9)."""

from enum import StrEnum

import msgspec

from vagus.contract.json import Json
from vagus.contract.state import RiskLevel


class ApprovalDecision(StrEnum):
    """How a ticket ended."""

    APPROVED = "approved"
    DENIED = "denied"
    TIMEOUT = "timeout"


class TicketState(StrEnum):
    """Where a ticket stands; every state but pending is final."""

    PENDING = "pending"
    APPROVED = "approved"
    DENIED = "denied"
    TIMEOUT = "timeout"
    WITHDRAWN = "withdrawn"


class ApprovalTicket(msgspec.Struct, frozen=True, kw_only=True):
    """One capability of one call that needs a person's word."""

    approval_id: str
    session_id: str
    call_id: str
    tool_name: str
    capability: str
    reason: str
    created_at: str
    branch_id: str
    tool_run_id: str
    arguments: Json
    risk: RiskLevel = RiskLevel.MEDIUM
    expires_at: str
    state: TicketState = TicketState.PENDING
    resolved_by: str | None = None
    resolved_at: str | None = None
    resolved_reason: str | None = None
    resolved_answer: str | None = None
    """The id of the answer that ended it: by this an approver knows an answer that comes again."""


class Resolution(msgspec.Struct, frozen=True, kw_only=True):
    """How a ticket ended: approver to kernel, inbox role `resolution`."""

    approval_id: str
    decision: ApprovalDecision
    actor: str = ""
    reason: str = ""


class Answer(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What somebody says of a ticket: client to approver. The answer to it is a `Reply`."""

    answer_id: str = ""
    """Its message id, and the reply's `command_id`."""
    approval_id: str
    decision: ApprovalDecision
    """`timeout` is the approvers' own: it counts only when the ticket has expired."""
    actor: str = ""
    reason: str = ""
    reply_to: str | None = None
    """An inbox; None: nobody waits."""
