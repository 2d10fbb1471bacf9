"""Vagus: an agent-OS kernel as a message-queue actor system over NATS JetStream.

    async with vagus.connect() as client:
        session = await client.create_session(owner="me", policy=vagus.PolicySet.preset("default"))
        output = await session.run("say hello")

Everything that programs need stands here. Names are loaded when they are first used, so that the command line
starts fast.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from vagus.contract.approvals import ApprovalDecision, ApprovalTicket, TicketState
    from vagus.contract.erasures import Erasure
    from vagus.contract.errors import (
        ApprovalNotPending,
        BranchExists,
        BranchNotFound,
        BranchReadOnly,
        BudgetExceeded,
        Busy,
        CheckpointNotFound,
        Conflict,
        HarnessError,
        Interrupted,
        InvalidId,
        Malformed,
        NotFound,
        OutcomeUnknown,
        Permanent,
        Refused,
        SessionErased,
        SessionNotFound,
        SettingsError,
        ToolFailure,
        ToolNotFound,
        Transient,
        Unavailable,
        VagusError,
    )
    from vagus.contract.events import EventKind, EventRecord
    from vagus.contract.models import ModelRouting
    from vagus.contract.policy import PolicySet
    from vagus.contract.schedules import Scheduled
    from vagus.contract.sessions import (
        BranchInfo,
        BranchMergeResult,
        PendingApproval,
        SessionManifest,
        SessionSummary,
        TickOutput,
        ToolResult,
    )
    from vagus.contract.state import AgentStateVector, BudgetState, OperatingMode, RiskLevel
    from vagus.contract.subscriptions import Cursor, Filter
    from vagus.contract.tools import Failure, Success, ToolCall, ToolDefinition, ToolOutcome
    from vagus.runtime.settings import Access
    from vagus.runtime.subscription import Delivery, Subscription
    from vagus.sdk.client import Client, connect
    from vagus.sdk.deadletters import DeadLetter
    from vagus.sdk.event import Event
    from vagus.sdk.session import Session
    from vagus.sdk.tree import embedded
    from vagus.sdk.verification import Verification
    from vagus.tools import Tool, ToolContext, tool

__all__ = [
    "Access",
    "AgentStateVector",
    "ApprovalDecision",
    "ApprovalNotPending",
    "ApprovalTicket",
    "BranchExists",
    "BranchInfo",
    "BranchMergeResult",
    "BranchNotFound",
    "BranchReadOnly",
    "BudgetExceeded",
    "BudgetState",
    "Busy",
    "CheckpointNotFound",
    "Client",
    "Conflict",
    "Cursor",
    "DeadLetter",
    "Delivery",
    "Erasure",
    "Event",
    "EventKind",
    "EventRecord",
    "Failure",
    "Filter",
    "HarnessError",
    "Interrupted",
    "InvalidId",
    "Malformed",
    "ModelRouting",
    "NotFound",
    "OperatingMode",
    "OutcomeUnknown",
    "PendingApproval",
    "Permanent",
    "PolicySet",
    "Refused",
    "RiskLevel",
    "Scheduled",
    "Session",
    "SessionErased",
    "SessionManifest",
    "SessionNotFound",
    "SessionSummary",
    "SettingsError",
    "Subscription",
    "Success",
    "TickOutput",
    "TicketState",
    "Tool",
    "ToolCall",
    "ToolContext",
    "ToolDefinition",
    "ToolFailure",
    "ToolNotFound",
    "ToolOutcome",
    "ToolResult",
    "Transient",
    "Unavailable",
    "VagusError",
    "Verification",
    "connect",
    "embedded",
    "tool",
]

_HOMES = {
    "vagus.contract.approvals": ("ApprovalDecision", "ApprovalTicket", "TicketState"),
    "vagus.contract.erasures": ("Erasure",),
    "vagus.contract.events": ("EventKind", "EventRecord"),
    "vagus.contract.models": ("ModelRouting",),
    "vagus.contract.policy": ("PolicySet",),
    "vagus.contract.schedules": ("Scheduled",),
    "vagus.contract.sessions": (
        "BranchInfo",
        "BranchMergeResult",
        "PendingApproval",
        "SessionManifest",
        "SessionSummary",
        "TickOutput",
        "ToolResult",
    ),
    "vagus.contract.state": ("AgentStateVector", "BudgetState", "OperatingMode", "RiskLevel"),
    "vagus.contract.subscriptions": ("Cursor", "Filter"),
    "vagus.contract.tools": ("Failure", "Success", "ToolCall", "ToolDefinition", "ToolOutcome"),
    "vagus.runtime.settings": ("Access",),
    "vagus.runtime.subscription": ("Delivery", "Subscription"),
    "vagus.sdk.client": ("Client", "connect"),
    "vagus.sdk.deadletters": ("DeadLetter",),
    "vagus.sdk.event": ("Event",),
    "vagus.sdk.session": ("Session",),
    "vagus.sdk.tree": ("embedded",),
    "vagus.sdk.verification": ("Verification",),
    "vagus.tools": ("Tool", "ToolContext", "tool"),
}
"""Where names come from; all others are errors."""

_HOME = {name: home for home, names in _HOMES.items() for name in names}


if not TYPE_CHECKING:  # checkers shall know of no other names

    def __getattr__(name: str) -> object:
        if name not in __all__:
            raise AttributeError(f"module 'vagus' has no attribute {name!r}")
        value = globals()[name] = getattr(import_module(_HOME.get(name, "vagus.contract.errors")), name)
        return value

    def __dir__() -> list[str]:
        return sorted({*globals(), *__all__})
