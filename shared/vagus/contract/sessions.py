"""Sessions, branches, checkpoints, observations, and a tick's input and output (fact sheet 1.10 and 2.2)."""

from typing import Annotated

import msgspec

from vagus.contract.ids import MAIN, Id
from vagus.contract.models import ModelRouting
from vagus.contract.policy import PolicySet
from vagus.contract.state import AgentStateVector, OperatingMode
from vagus.contract.tools import Priority, ToolCall, ToolOutcome


class SessionManifest(msgspec.Struct, frozen=True, kw_only=True):
    """What a session is; never changed after creation. Its compact JSON is hashed (fact sheet 2.1)."""

    session_id: str
    owner: str
    created_at: str
    workspace_root: str
    model_routing: ModelRouting
    policy: PolicySet


class BranchInfo(msgspec.Struct, frozen=True, kw_only=True):
    """A branch; `parent_branch` and `merged_into` are written as null when absent."""

    branch_id: str
    parent_branch: str | None
    fork_sequence: int
    head_sequence: int
    merged_into: str | None


class BranchMergeResult(msgspec.Struct, frozen=True, kw_only=True):
    """What a merge did."""

    source_branch: str
    target_branch: str
    source_head_sequence: int
    target_head_sequence: int


class SessionSummary(msgspec.Struct, frozen=True, kw_only=True):
    """A session in the registry `VAGUS_SESSIONS`: a projection of its log, at most a second behind."""

    manifest: SessionManifest
    mode: OperatingMode
    tick_count: int
    branches: tuple[BranchInfo, ...]
    pending_approvals: int
    policy_version: int
    closed: bool
    updated_at: str
    stream_sequence: int
    """Of the commit that this summary was made from."""
    archived: bool = False
    """Its log is in the archive."""


class CheckpointManifest(msgspec.Struct, frozen=True, kw_only=True):
    """A checkpoint, as its file in the workspace says."""

    checkpoint_id: str
    session_id: str
    branch_id: str
    created_at: str
    event_sequence: int
    state_hash: str
    note: str = "automatic heartbeat checkpoint"


class FileProvenance(msgspec.Struct, frozen=True, kw_only=True):
    """A file that an observation rests on."""

    path: str
    sha256: str


class Provenance(msgspec.Struct, frozen=True, kw_only=True):
    """What an observation rests on: events of its branch, and files."""

    event_start: int
    event_end: int
    files: tuple[FileProvenance, ...] = ()


class Observation(msgspec.Struct, frozen=True, kw_only=True):
    """A line of `memory/observations.jsonl`."""

    observation_id: str
    created_at: str
    text: str
    tags: tuple[str, ...]
    provenance: Provenance


class TickInput(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What one tick is about."""

    objective: str
    proposed_tool: ToolCall | None = None
    system_prompt: str | None = None
    allowed_tools: tuple[str, ...] | None = None
    """None: all tools. A call of another tool is refused."""
    priority: Priority = Priority.NORMAL
    """Of its tool calls, where they wait for a runner."""


class ToolResult(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """How one tool call of a tick ended."""

    call_id: str
    tool_name: str
    status: str
    """`ok`, `error`, `timeout`, `cancelled`; `failed`: it never ran; `pending`: it waits for a person."""
    outcome: ToolOutcome | None = None
    error: str | None = None


class PendingApproval(msgspec.Struct, frozen=True, kw_only=True):
    """A ticket that a tick waits for."""

    approval_id: str
    call_id: str
    tool_name: str
    capability: str


class TickOutput(msgspec.Struct, frozen=True, kw_only=True):
    """What one tick did; equal to what the log says of it."""

    session_id: str
    branch_id: str
    mode: OperatingMode
    state: AgentStateVector
    events_emitted: int
    """Without extension events."""
    last_sequence: int
    run_id: str
    text: str
    """The assistant's words: messages and deltas in order, else the final answer, else empty."""
    tool_results: tuple[ToolResult, ...]
    pending_approvals: tuple[PendingApproval, ...]
    reason: str
    """`completed`, `tool_calls`, `awaiting_approval`, `asleep`, `budget_exceeded`, `error` or `cancelled`."""
    error: str | None = None
    """What ended the tick early, for `error` and `budget_exceeded`."""


Amount = Annotated[int, msgspec.Meta(ge=0, le=2**53)]


class BudgetExtension(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What to add to a branch's budget; nothing is ever taken away."""

    tokens: Amount = 0
    time_ms: Amount = 0
    cost_usd: Annotated[float, msgspec.Meta(ge=0, le=1e12)] = 0.0
    tool_calls: Amount = 0
    errors: Amount = 0
    branch: Id = MAIN
