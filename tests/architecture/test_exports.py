"""What `import vagus` offers is pinned: a change of it is a change of the public surface."""

from collections.abc import Sequence

import vagus

PUBLIC = [
    "Access", "AgentStateVector", "ApprovalDecision", "ApprovalNotPending", "ApprovalTicket",
    "BranchExists", "BranchInfo", "BranchMergeResult", "BranchNotFound", "BranchReadOnly", "BudgetExceeded",
    "BudgetState", "Busy", "CheckpointNotFound", "Client", "Conflict", "Cursor", "DeadLetter", "Delivery",
    "Erasure", "Event", "EventKind", "EventRecord",
    "Failure", "Filter", "HarnessError", "Interrupted", "InvalidId", "Malformed", "ModelRouting", "NotFound",
    "OperatingMode", "OutcomeUnknown", "PendingApproval", "Permanent", "PolicySet", "Refused", "RiskLevel",
    "Scheduled", "Session", "SessionErased", "SessionManifest", "SessionNotFound", "SessionSummary",
    "SettingsError", "Subscription", "Success", "TickOutput", "TicketState", "Tool", "ToolCall",
    "ToolContext", "ToolDefinition", "ToolFailure",
    "ToolNotFound", "ToolOutcome", "ToolResult", "Transient", "Unavailable", "VagusError",
    "Verification", "connect", "embedded", "tool",
]  # fmt: skip


def differences(found: Sequence[str], pinned: Sequence[str]) -> list[str]:
    """How two lists of names differ, one line each."""
    return [
        *(f"{name} is new: pin it, and tell of it in the changelog" for name in found if name not in pinned),
        *(f"{name} is gone: that breaks whoever uses it" for name in pinned if name not in found),
    ]


def test_the_public_names_are_as_pinned() -> None:
    assert differences(vagus.__all__, PUBLIC) == []
    assert list(vagus.__all__) == sorted(vagus.__all__)


def test_every_public_name_is_there() -> None:
    assert [name for name in PUBLIC if getattr(vagus, name, None) is None] == []


def test_every_error_of_the_contract_is_public() -> None:
    errors = [name for name in dir(vagus) if isinstance(getattr(vagus, name), type)]
    assert all(issubclass(getattr(vagus, name), Exception) for name in errors if name.endswith("Error"))


def test_a_new_name_and_a_lost_one_are_found() -> None:
    assert differences(["a", "c"], ["a", "b"]) == [
        "c is new: pin it, and tell of it in the changelog",
        "b is gone: that breaks whoever uses it",
    ]
