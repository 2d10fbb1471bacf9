"""What the processes say to each other (DESIGN: events on the wire). Unknown fields are ignored."""

from enum import StrEnum
from typing import Final, TypeVar

import msgspec

from vagus.contract.approvals import ApprovalTicket, Resolution
from vagus.contract.errors import Malformed
from vagus.contract.ids import Id
from vagus.contract.tools import ToolCall, ToolExecutionReport

_T = TypeVar("_T", bound=msgspec.Struct)

ANSWER_TO: Final = "Vagus-Answer-To"
"""Header of a request to gates or runners: the kernel that waits, by its instance, to be told straight."""
NOT_STORED: Final = {"Nats-Expected-Stream": "none"}
"""Headers that have the server refuse to store a message, which those who listen are told all the same."""

__all__ = [
    "ANSWER_TO",
    "NOT_STORED",
    "ApprovalTicket",
    "GateRequest",
    "Receipt",
    "Report",
    "ReportType",
    "Resolution",
    "Role",
    "Rule",
    "ToolRequest",
    "Verdict",
    "decode",
]


class Role(StrEnum):
    """Who speaks to a session: a token of the inbox subject, from which alone an input's kind is taken."""

    COMMAND = "command"
    VERDICT = "verdict"
    REPORT = "report"
    RESOLUTION = "resolution"


class GateRequest(msgspec.Struct, frozen=True, kw_only=True):
    """Kernel to policy gate: may this call run?"""

    effect_id: str
    attempt: int
    session_id: Id
    branch_id: Id
    tool_run_id: Id
    call: ToolCall
    policy_version: int
    tickets: tuple[str, ...] = ()
    """Approved tickets that the gate is to take into account."""


class Rule(StrEnum):
    """Why a call was denied, where it is not for its capabilities."""

    CAPABILITIES = "capabilities"
    TOOL_NOT_FOUND = "tool_not_found"
    INVALID_INPUT = "invalid_input"
    TOOL_NOT_ALLOWED = "tool_not_allowed"
    BUDGET = "budget"
    TICKETS = "tickets"


class Verdict(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Policy gate to kernel, straight or by inbox role `verdict`. `denied` outranks `requires_approval`."""

    effect_id: str
    tool_run_id: Id
    allowed: tuple[str, ...] = ()
    requires_approval: tuple[str, ...] = ()
    denied: tuple[str, ...] = ()
    rule_id: str = Rule.CAPABILITIES
    explanation: str = ""
    """One line; for every rule but `capabilities` the text of the resulting ToolCallFailed."""
    grant: str | None = None
    """Present exactly when the call may run."""


class ToolRequest(msgspec.Struct, frozen=True, kw_only=True):
    """Kernel to tool runner: run this call, if the grant holds."""

    effect_id: str
    attempt: int
    session_id: Id
    branch_id: Id
    workspace_root: str
    call: ToolCall
    tool_run_id: Id
    deadline: str
    """RFC 3339, UTC: when the kernel gives up waiting."""
    grant: str


class ReportType(StrEnum):
    """What a runner reports."""

    STARTED = "started"
    REPORT = "report"
    HARNESS_ERROR = "harness_error"


class Report(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Tool runner to kernel, straight or by inbox role `report`.

    `started` comes within a second of a slow tool's start and again every few seconds as its heartbeat;
    `report` and `harness_error` end the run.
    """

    effect_id: str
    type: ReportType
    tool_run_id: Id
    tool_name: str = ""
    report: ToolExecutionReport | None = None
    """With type `report`."""
    error: str | None = None
    """With type `harness_error`: the text."""
    started_at: str | None = None
    attempts: int = 1
    """How often the runner has begun the tool, its retries included."""


class Receipt(msgspec.Struct, frozen=True):
    """Kernel to tool runner: what became of a report that was handed over straight."""

    taken: bool
    """Whether what follows from it is on the log; else it is to be stored in the inbox."""


def decode(data: bytes, shape: type[_T]) -> _T:
    """Read a message of the given shape; raises `Malformed` that says what is wrong and where."""
    try:
        return msgspec.json.decode(data, type=shape)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise Malformed(f"not a {shape.__name__}: {error}") from error
