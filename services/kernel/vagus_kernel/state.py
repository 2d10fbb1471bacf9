"""What a kernel knows of a session: a fold of its log, nothing else.

A branch at rest is idle or in a turn; a turn at rest is in one of three stages:

    idle     --(Tick)-->                          Thinking | Gating | idle (ended short)
    idle     --(last ticket approved)-->          Gating (resumed)
    Thinking --(ModelAnswer)-->                   Gating | idle
    Gating   --(Verdict: allowed)-->              Running
    Gating   --(Verdict: denied, or approval)-->  Gating (next call) | idle
    Running  --(ToolReport, or its deadline)-->   Gating (next call) | idle
    any      --(Cancel)-->                        idle, or Running until the tool has stopped

Everything here is bounded: conversation, loop history, remembered ids, tickets (by calls in flight).
"""

from typing import Final, TypeAlias

import msgspec

from vagus.contract.approvals import ApprovalDecision
from vagus.contract.extensions import GuardDecision, Memory
from vagus.contract.hashing import blake3_hex
from vagus.contract.ids import MAIN
from vagus.contract.models import ModelDirective, StopReason, TokenUsage
from vagus.contract.policy import PolicySet
from vagus.contract.sessions import BranchInfo, SessionManifest
from vagus.contract.state import OperatingMode, RiskLevel
from vagus.contract.tools import Priority, ToolCall

ID_CHARS: Final = 128
"""Of an id from outside that is remembered as it is; of a longer one, its hash."""


def remembered(identity: str) -> str:
    """An id as state remembers it: models make them of any length."""
    return identity if len(identity) <= ID_CHARS else blake3_hex(identity.encode())


class _Frozen(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Base of all state: immutable, and small in a snapshot."""


class Config(_Frozen, frozen=True, kw_only=True):
    """What the operator may set of the core's behaviour."""

    circuit_breaker_errors: int = 3
    checkpoint_every_ticks: int = 1
    enforce_budget: bool = True
    loop_detection: bool = True
    loop_warning: int = 3
    loop_hard_stop: int = 5
    loop_window: int = 20


class Ticket(_Frozen, frozen=True, kw_only=True):
    """One capability of a waiting call."""

    approval_id: str
    capability: str
    requested_at: str
    risk: RiskLevel = RiskLevel.MEDIUM
    decision: ApprovalDecision | None = None


class WaitingCall(_Frozen, frozen=True, kw_only=True):
    """A call that waits for people."""

    call: ToolCall
    tool_run_id: str
    command_id: str
    """The tick that made the call."""
    priority: Priority = Priority.NORMAL
    """That tick's."""
    tickets: tuple[Ticket, ...]

    @property
    def approved(self) -> bool:
        """Whether every ticket is approved."""
        return all(ticket.decision is ApprovalDecision.APPROVED for ticket in self.tickets)


class Thinking(_Frozen, frozen=True, kw_only=True, tag="thinking"):
    """The model is asked."""


class Gating(_Frozen, frozen=True, kw_only=True, tag="gating"):
    """The policy gate is asked about a call."""

    call: ToolCall
    tool_run_id: str
    effect_id: str
    tickets: tuple[str, ...] = ()
    """Approved ones that the gate is told of."""
    exempt: bool = False
    """Refused for a reason that is no error of the agent's."""


class Granted(_Frozen, frozen=True, kw_only=True, tag="granted"):
    """The gate said yes; P:execute follows in the same commit."""

    call: ToolCall
    tool_run_id: str
    grant: str
    deadline: str


class Running(_Frozen, frozen=True, kw_only=True, tag="running"):
    """A tool runner is asked to run a call."""

    call: ToolCall
    tool_run_id: str
    effect_id: str
    grant: str
    deadline: str
    """RFC 3339: when the run must have ended."""
    started: bool = False


class Asking(_Frozen, frozen=True, kw_only=True, tag="asking"):
    """People are asked about a call; in the same commit the turn goes on without it."""

    call: ToolCall
    tool_run_id: str


class Settling(_Frozen, frozen=True, kw_only=True, tag="settling"):
    """Between two steps, or about to end: never at rest."""


Stage: TypeAlias = Thinking | Gating | Granted | Running | Asking | Settling


class Answer(_Frozen, frozen=True, kw_only=True):
    """What is left to know of a model's answer once its directives are taken apart."""

    model: str
    stop_reason: StopReason
    directive_count: int
    usage: TokenUsage | None = None
    final_answer: str | None = None


class Turn(_Frozen, frozen=True, kw_only=True):
    """A tick in progress, or an approved call being resumed."""

    command_id: str
    run_id: str
    first_sequence: int
    started_at: str
    before: Memory
    """As it was when the turn began: what a fork inherits meanwhile, and what the model is shown."""
    stage: Stage
    resumed: bool = False
    approval_id: str | None = None
    """The ticket whose approval resumed the call: the input that the turn holds on to."""
    objective: str = ""
    inline: bool = False
    """The client proposed the call; no model is asked."""
    system_prompt: str | None = None
    allowed_tools: tuple[str, ...] | None = None
    capabilities: tuple[str, ...] = ()
    """What the client declared for the call it proposed."""
    priority: Priority = Priority.NORMAL
    """Of its calls, where they wait for a runner."""
    guards: tuple[tuple[str, GuardDecision], ...] = ()
    """By call id."""
    directives: tuple[ModelDirective, ...] = ()
    """Not yet carried out."""
    answer: Answer | None = None
    streak: int = 0
    """The lowest error streak of the turn so far; from below the threshold to it, the breaker trips."""
    ran: bool = False
    """RunStarted is on the log."""
    failed: bool = False
    asked: bool = False
    """A ticket of this turn waits: ask_human outranks every other mode."""
    recovering: bool = False
    """Something failed in this turn: recover outranks the rest."""
    cancelling: bool = False


class Branch(_Frozen, frozen=True, kw_only=True):
    """One branch of a session."""

    branch_id: str = MAIN
    parent_branch: str | None = None
    fork_sequence: int = 0
    head_sequence: int = 0
    merged_into: str | None = None
    mode: OperatingMode = OperatingMode.EXPLORE
    """The one recorded last."""
    estimated: bool = True
    """False: a fork on which no mode is recorded yet; what it inherited says which it is in."""
    memory: Memory = Memory()
    model_calls: int = 0
    """Begun on this branch's own log: the n-th gets a scripted provider's n-th answer."""
    calls: tuple[str, ...] = ()
    """The latest call ids."""
    waiting: tuple[WaitingCall, ...] = ()
    turn: Turn | None = None

    @property
    def pending(self) -> int:
        """Tickets without a decision."""
        return sum(ticket.decision is None for call in self.waiting for ticket in call.tickets)

    def info(self) -> BranchInfo:
        """The public view."""
        return BranchInfo(
            branch_id=self.branch_id,
            parent_branch=self.parent_branch,
            fork_sequence=self.fork_sequence,
            head_sequence=self.head_sequence,
            merged_into=self.merged_into,
        )


class Session(_Frozen, frozen=True, kw_only=True):
    """A session, folded from its log."""

    session_id: str
    agent_id: str
    manifest: SessionManifest | None = None
    """Only between the first and the second event of the log."""
    policy: PolicySet | None = None
    policy_version: int = 0
    tick_count: int = 0
    """Ended turns."""
    closed: bool = False
    branches: dict[str, Branch] = {}
    commands: tuple[str, ...] = ()
    """The latest command ids whose effect is on the log."""

    def waiting_for(self, approval_id: str) -> tuple[Branch, WaitingCall] | None:
        """The call that waits for this ticket's decision, and its branch."""
        for branch in self.branches.values():
            for call in branch.waiting:
                if any(t.approval_id == approval_id and t.decision is None for t in call.tickets):
                    return branch, call
        return None
