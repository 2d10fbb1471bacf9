"""Tool calls, their policy and approvals, and the files they change."""

from vagus.contract.approvals import ApprovalDecision
from vagus.contract.events.base import U64, Kind
from vagus.contract.json import Json
from vagus.contract.policy import PolicyDecisionKind, SpanStatus
from vagus.contract.state import RiskLevel


class ToolCallRequested(Kind, frozen=True, kw_only=True):
    """A call was asked for; it ends as completed or failed."""

    call_id: str
    tool_name: str
    arguments: Json
    category: str | None = None


class ToolCallStarted(Kind, frozen=True, kw_only=True):
    """A runner runs the call."""

    tool_run_id: str
    tool_name: str
    call_id: str | None = None
    """Absent in the original's logs."""


class ToolCallCompleted(Kind, frozen=True, kw_only=True):
    """The tool ran to an end, good or bad."""

    tool_run_id: str
    call_id: str | None = None
    tool_name: str
    result: Json
    """The outcome as plain JSON."""
    duration_ms: U64
    status: SpanStatus


class ToolCallFailed(Kind, frozen=True, kw_only=True):
    """The tool did not run, or what became of it is unknown."""

    call_id: str
    tool_name: str
    error: str


class PolicyEvaluated(Kind, frozen=True, kw_only=True):
    """What the gate said of a call."""

    tool_name: str
    decision: PolicyDecisionKind
    rule_id: str | None = None
    explanation: str | None = None


class ApprovalRequested(Kind, frozen=True, kw_only=True):
    """A ticket for one capability of a call was opened."""

    approval_id: str
    call_id: str
    tool_name: str
    arguments: Json
    risk: RiskLevel
    capability: str | None = None
    """Absent in the original's logs, as is `reason`."""
    reason: str | None = None


class ApprovalResolved(Kind, frozen=True, kw_only=True):
    """A ticket was answered or ran out of time."""

    approval_id: str
    decision: ApprovalDecision
    reason: str | None = None


class FileWrite(Kind, frozen=True, kw_only=True):
    """A file was written; its content is a blob."""

    path: str
    blob_hash: str
    size_bytes: U64
    content_type: str | None = None


class FileDelete(Kind, frozen=True, kw_only=True):
    """A file was deleted."""

    path: str


class FileRename(Kind, frozen=True, kw_only=True):
    """A file was renamed."""

    old_path: str
    new_path: str


class FileMutated(Kind, frozen=True, kw_only=True):
    """A tool changed a file of the workspace."""

    path: str
    content_hash: str
    """SHA-256 hex of the content, or `deleted`."""
