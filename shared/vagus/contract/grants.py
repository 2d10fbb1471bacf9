"""Grants: the gate's signed word that one tool call may run (DESIGN: policy, grants, approvals)."""

import blake3
import msgspec

from vagus.contract.json import compact
from vagus.contract.tools import ToolCall


class GrantLimits(msgspec.Struct, frozen=True, kw_only=True):
    """What the runner enforces."""

    timeout_secs: int


class Grant(msgspec.Struct, frozen=True, kw_only=True):
    """What a gate signs. It is good for exactly one call: this run, this tool, this input."""

    session_id: str
    branch_id: str
    tool_run_id: str
    call_hash: str
    capabilities: tuple[str, ...]
    limits: GrantLimits
    issued_at: int
    """Milliseconds since the epoch, UTC."""
    expires_at: int
    """Milliseconds since the epoch, UTC."""


def call_hash(call: ToolCall) -> str:
    """`blake3:` + hex over the tool's name and its input in canonical JSON."""
    named = compact({"input": call.input, "tool_name": call.tool_name})
    return "blake3:" + blake3.blake3(named).hexdigest()
