"""What the core is told: commands with what the shell adds to them, and answers to effects.

The shell brings time, ids, tool definitions and whatever must be looked up; the core takes them from here.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol, TypeAlias

from vagus.contract import commands
from vagus.contract.approvals import Resolution
from vagus.contract.extensions import GuardDecision, Memory
from vagus.contract.messages import Report, Verdict
from vagus.contract.models import ModelCompletion
from vagus.contract.sessions import SessionManifest
from vagus.contract.state import AgentStateVector, OperatingMode
from vagus.contract.tools import ToolDefinition
from vagus_kernel.state import Config


class ToolLookup(Protocol):
    """Finds tools by name."""

    def get(self, name: str, /) -> ToolDefinition | None:
        """The definition, None if there is no such tool."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Context:
    """What every decision may use."""

    config: Config
    now: str
    """RFC 3339, UTC."""
    seed: bytes
    """Of the ids that the decision makes."""
    tools: ToolLookup = field(default_factory=dict[str, ToolDefinition])
    trace_id: str | None = None
    span_id: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Mark:
    """The log is to be archived as this copy."""

    command_id: str
    copy: str


@dataclass(frozen=True, slots=True, kw_only=True)
class StartTick:
    """A tick reached the front of its branch's queue and passed the middlewares."""

    command: commands.Tick
    vector: AgentStateVector | None = None
    """Set by a middleware, in place of the branch's."""
    mode: OperatingMode | None = None
    """Set by a middleware, in place of the estimate."""
    guards: Mapping[str, GuardDecision] = field(default_factory=dict)
    """Decisions on the proposed call, by call id."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelAnswer:
    """A provider answered, or failed with `error`."""

    branch_id: str
    run_id: str
    completion: ModelCompletion | None = None
    error: str | None = None
    guards: Mapping[str, GuardDecision] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class VerdictGiven:
    """The policy gate answered; `deadline` is when a granted call must have ended."""

    verdict: Verdict
    deadline: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ToolReported:
    """A tool runner reported: started, ended, or could not run."""

    report: Report


@dataclass(frozen=True, slots=True, kw_only=True)
class DeadlinePassed:
    """No report came in time."""

    branch_id: str
    tool_run_id: str
    claimed: bool = False
    """A runner has claimed the call: it may have run."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ApprovalResolved:
    """A ticket was answered, or timed out."""

    resolution: Resolution


@dataclass(frozen=True, slots=True, kw_only=True)
class CancelTurn:
    """End the turn of a branch, and with `tickets` the calls that wait there as well."""

    branch_id: str
    actor: str = ""
    command_id: str | None = None
    """Of the tick that is meant; None: whichever runs."""
    tickets: bool = False
    by: str | None = None
    """The command that asks for it."""
    dropped: tuple[str, ...] = ()
    """Ticks that waited, and are not to begin."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ToolNeverRan:
    """A cancelled call was stopped before any runner claimed it."""

    branch_id: str
    tool_run_id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class GiveUp:
    """A turn's input was delivered too often, or a guard broke: finalise the turn."""

    branch_id: str
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Create:
    """CreateSession, with the manifest made for it."""

    command: commands.CreateSession
    manifest: SessionManifest
    agent_id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Fork:
    """CreateBranch; `memory` is the parent's as of a fork sequence before its head."""

    command: commands.CreateBranch
    memory: Memory | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class RestoreTo:
    """RestoreCheckpoint, with the branch's mind as of the checkpoint."""

    command: commands.RestoreCheckpoint
    sequence: int
    memory: Memory


@dataclass(frozen=True, slots=True, kw_only=True)
class Resumed:
    """A new owner found effects owed."""

    snapshot: str | None = None


Simple: TypeAlias = (
    commands.MergeBranch | commands.RecordEvent | commands.SetPolicy | commands.ExtendBudget | commands.Close
)
"""Commands that need nothing from the shell."""

Input: TypeAlias = (
    StartTick
    | ModelAnswer
    | VerdictGiven
    | ToolReported
    | DeadlinePassed
    | ApprovalResolved
    | CancelTurn
    | ToolNeverRan
    | GiveUp
    | Create
    | Fork
    | RestoreTo
    | Resumed
    | Mark
    | Simple
)
