"""Events as far as the checker looks into them."""

from typing import Any, Final

import msgspec

from chaos.checker.names import MAIN
from chaos.checker.vector import Budget, Extension, Vector

OWN: Final = "vagus."
"""What the event_type of the kernel's own `Custom` events begins with."""
_EXTENSIONS: Final = frozenset(
    ("PolicyEvaluated", "SessionResumed", "SessionClosed", "CheckpointRestored", "ContextCompacted")
)


class Unreadable(Exception):
    """A line that is no event."""


class Kind(msgspec.Struct, frozen=True, kw_only=True):
    """What happened. Subclasses are named as on the wire and have the fields that are looked at."""


class Other(Kind, frozen=True, kw_only=True):
    """Nothing that is looked into."""


class Illegible(Kind, frozen=True, kw_only=True):
    """A kind without its fields."""

    problem: str


class SessionCreated(Kind, frozen=True, kw_only=True):
    """The first event of a session."""


class SessionClosed(Kind, frozen=True, kw_only=True):
    """The last one."""


class BranchCreated(Kind, frozen=True, kw_only=True):
    """The first event of a fork."""

    new_branch_id: str
    fork_point_seq: int
    from_branch: str = MAIN


class BranchMerged(Kind, frozen=True, kw_only=True):
    """The source takes no more events."""

    source_branch_id: str
    merge_seq: int


class PhaseEntered(Kind, frozen=True, kw_only=True):
    """`sleep` ends a turn."""

    phase: str


class ModeChanged(Kind, frozen=True, kw_only=True):
    """The branch does something else."""

    reason: str


class StateEstimated(Kind, frozen=True, kw_only=True):
    """The state, at the beginning and at the end of a turn."""

    state: Vector
    mode: str


class CheckpointCreated(Kind, frozen=True, kw_only=True):
    """A state that can be restored."""

    checkpoint_id: str
    event_sequence: int
    state_hash: str


class CheckpointRestored(Kind, frozen=True, kw_only=True):
    """The state is again that of a checkpoint."""

    checkpoint_id: str


class RunStarted(Kind, frozen=True, kw_only=True):
    """The turn does something."""


class RunFinished(Kind, frozen=True, kw_only=True):
    """The turn did it."""

    reason: str
    final_answer: str | None = None


class RunErrored(Kind, frozen=True, kw_only=True):
    """The turn broke off."""

    error: str


class ErrorRaised(Kind, frozen=True, kw_only=True):
    """Such as that a budget is spent."""

    message: str


class TextDelta(Kind, frozen=True, kw_only=True):
    """A piece of text."""

    delta: str


class Message(Kind, frozen=True, kw_only=True):
    """A whole message."""

    role: str
    content: str


class ToolCallRequested(Kind, frozen=True, kw_only=True):
    """A call; the id of this event is that of the tool run."""

    call_id: str
    tool_name: str
    arguments: msgspec.Raw


class ToolCallStarted(Kind, frozen=True, kw_only=True):
    """A runner has it."""

    tool_run_id: str


class ToolCallCompleted(Kind, frozen=True, kw_only=True):
    """It ran to an end."""

    tool_run_id: str
    call_id: str = ""
    result: Any = None
    status: str


class ToolCallFailed(Kind, frozen=True, kw_only=True):
    """It did not run, or nobody knows."""

    call_id: str
    error: str


class PolicyEvaluated(Kind, frozen=True, kw_only=True):
    """A verdict on the call at hand."""

    tool_name: str
    decision: str
    rule_id: str | None = None


class ApprovalRequested(Kind, frozen=True, kw_only=True):
    """A ticket."""

    approval_id: str
    call_id: str
    tool_name: str
    capability: str = ""


class ApprovalResolved(Kind, frozen=True, kw_only=True):
    """Its end."""

    approval_id: str
    decision: str


class Custom(Kind, frozen=True, kw_only=True):
    """Somebody's own kind."""

    event_type: str


class ManifestSet(Kind, frozen=True, kw_only=True):
    """`vagus.manifest_set`."""

    budget: Budget | None = None


class TurnStarted(Kind, frozen=True, kw_only=True):
    """`vagus.turn_started`: the first event of a tick."""

    run_id: str


class CallRefused(Kind, frozen=True, kw_only=True):
    """`vagus.call_refused`."""


class CallGranted(Kind, frozen=True, kw_only=True):
    """`vagus.call_granted`."""

    tool_run_id: str
    grant: str


class CancelRequested(Kind, frozen=True, kw_only=True):
    """`vagus.cancel_requested`."""


class TicksDropped(Kind, frozen=True, kw_only=True):
    """`vagus.ticks_dropped`."""

    dropped: tuple[str, ...]


class BudgetExtended(Kind, frozen=True, kw_only=True):
    """`vagus.budget_extended`."""

    extension: Extension


class _Memory(msgspec.Struct, frozen=True):
    vector: Vector = Vector()


class StateSet(Kind, frozen=True, kw_only=True):
    """`vagus.state_set`."""

    memory: _Memory


class Event(msgspec.Struct, frozen=True, kw_only=True):
    """One line of a log."""

    event_id: str
    session_id: str
    branch_id: str
    sequence: int
    agent_id: str = ""
    correlation_id: str | None = None
    digest: str = ""
    type: str = ""
    kind: Kind = Other()
    line: bytes = b""
    """As it is stored, without its newline."""

    @property
    def word(self) -> str:
        """Its type where only a plain word may stand: in headers and subjects."""
        return self.type if self.type.isascii() and self.type.isalnum() else "Unknown"

    @property
    def extension(self) -> bool:
        """Whether the original runtime has no such event."""
        if isinstance(self.kind, Custom):
            return self.kind.event_type.startswith(OWN)
        return self.type in _EXTENSIONS or self.type == "Custom"


class _Line(msgspec.Struct, frozen=True, kw_only=True):
    event_id: str
    session_id: str
    branch_id: str
    sequence: int
    agent_id: str = ""
    correlation_id: str | None = None
    digest: str = ""
    kind: msgspec.Raw


class _Typed(msgspec.Struct, frozen=True):
    type: str


class _Told(msgspec.Struct, frozen=True):
    event_type: str
    data: msgspec.Raw = msgspec.Raw(b"null")


_LINE: Final = msgspec.json.Decoder(_Line)
_TYPED: Final = msgspec.json.Decoder(_Typed)
_TOLD: Final = msgspec.json.Decoder(_Told)
_OTHER: Final = Other()
_KINDS: Final[dict[str, msgspec.json.Decoder[Kind]]] = {
    kind.__name__: msgspec.json.Decoder(kind)
    for kind in (
        SessionCreated, SessionClosed, BranchCreated, BranchMerged, PhaseEntered, ModeChanged, StateEstimated,
        CheckpointCreated, CheckpointRestored, RunStarted, RunFinished, RunErrored, ErrorRaised, TextDelta,
        Message, ToolCallRequested, ToolCallStarted, ToolCallCompleted, ToolCallFailed, PolicyEvaluated,
        ApprovalRequested, ApprovalResolved,
    )
}  # fmt: skip
_FACTS: Final[dict[str, msgspec.json.Decoder[Kind]]] = {
    "vagus.manifest_set": msgspec.json.Decoder(ManifestSet),
    "vagus.turn_started": msgspec.json.Decoder(TurnStarted),
    "vagus.call_refused": msgspec.json.Decoder(CallRefused),
    "vagus.call_granted": msgspec.json.Decoder(CallGranted),
    "vagus.cancel_requested": msgspec.json.Decoder(CancelRequested),
    "vagus.ticks_dropped": msgspec.json.Decoder(TicksDropped),
    "vagus.budget_extended": msgspec.json.Decoder(BudgetExtended),
    "vagus.state_set": msgspec.json.Decoder(StateSet),
}


def read(line: bytes) -> Event:
    """Read a line without its newline; raises `Unreadable`."""
    try:
        found = _LINE.decode(line)
        kind_type = _TYPED.decode(found.kind).type
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise Unreadable(str(error)) from error
    return Event(
        event_id=found.event_id,
        session_id=found.session_id,
        branch_id=found.branch_id,
        sequence=found.sequence,
        agent_id=found.agent_id,
        correlation_id=found.correlation_id,
        digest=found.digest,
        type=kind_type,
        kind=_kind(kind_type, found.kind),
        line=line,
    )


def _kind(kind_type: str, raw: msgspec.Raw) -> Kind:
    try:
        if kind_type == "Custom":
            told = _TOLD.decode(raw)
            fact = _FACTS.get(told.event_type)
            return fact.decode(told.data) if fact is not None else Custom(event_type=told.event_type)
        known = _KINDS.get(kind_type)
        return known.decode(raw) if known is not None else _OTHER
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        return Illegible(problem=str(error))
