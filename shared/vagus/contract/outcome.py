"""What the log says of a tick: the same `TickOutput` that the kernel replies with."""

from collections.abc import Iterable, Sequence
from typing import Final, TypeVar, cast

import msgspec

from vagus.contract.events import (
    ApprovalRequested,
    ApprovalResolved,
    Custom,
    ErrorRaised,
    EventKind,
    EventRecord,
    Kind,
    Message,
    PhaseEntered,
    RunErrored,
    RunFinished,
    RunStarted,
    StateEstimated,
    TextDelta,
    ToolCallCompleted,
    ToolCallFailed,
    ToolCallRequested,
    is_extension,
)
from vagus.contract.json import Json
from vagus.contract.sessions import PendingApproval, TickOutput, ToolResult
from vagus.contract.state import LoopPhase, OperatingMode
from vagus.contract.tools import Failure, Success

TURN_STARTED: Final = "vagus.turn_started"
CALL_REFUSED: Final = "vagus.call_refused"
HARD_STOP: Final = ".hard_stop"
"""What the event_type of a guard's block ends with, such as `loop_detection.hard_stop`."""
BUDGET_EXCEEDED: Final = "budget exceeded"
"""What the ErrorRaised of a spent budget begins with."""
CANCELLED: Final = "cancelled"
"""The RunErrored of a cancelled tick."""

_K = TypeVar("_K", bound=Kind)
_T = TypeVar("_T", bound=msgspec.Struct)

_STOPS: Final = frozenset(("completed", "error", "cancelled"))


class _TurnStarted(msgspec.Struct, frozen=True):
    run_id: str = ""


class _Told:
    """What a tick's events say, in order: all of it, and by kind."""

    def __init__(self, turn: Iterable[EventRecord]) -> None:
        self.kinds = [record.kind for record in turn]
        self._of: dict[type[object], list[EventKind]] = {}
        for kind in self.kinds:
            self._of.setdefault(type(kind), []).append(kind)

    def all(self, shape: type[_K]) -> Sequence[_K]:
        """Those of one kind."""
        return cast("Sequence[_K]", self._of.get(shape, ()))

    def has(self, *shapes: type[Kind]) -> bool:
        """Whether there is any of these kinds."""
        return not self._of.keys().isdisjoint(shapes)

    def last(self, shape: type[_K]) -> _K | None:
        """The last of one kind."""
        found = self.all(shape)
        return found[-1] if found else None


def tick_output(events: Sequence[EventRecord]) -> TickOutput | None:
    """What the tick did, None while it has not ended.

    `events` are those of one branch that carry the tick's command id as their correlation id, in order. The
    tick is what stands up to its first PhaseEntered(sleep); what follows belongs to calls resumed later.
    """
    turn = _turn(events)
    if turn is None:
        return None
    told = _Told(turn)
    estimate = told.last(StateEstimated)
    if estimate is None:
        return None
    pending = _pending_approvals(told)
    reason, error = _reason(told, estimate.mode, waits=bool(pending))
    return TickOutput(
        session_id=turn[-1].session_id,
        branch_id=turn[-1].branch_id,
        mode=estimate.mode,
        state=estimate.state,
        events_emitted=sum([not is_extension(kind) for kind in told.kinds]),
        last_sequence=turn[-1].sequence,
        run_id=_run_id(told),
        text=_text(told),
        tool_results=_tool_results(told),
        pending_approvals=pending,
        reason=reason,
        error=error,
    )


def _turn(events: Sequence[EventRecord]) -> Sequence[EventRecord] | None:
    begun = False
    for position, record in enumerate(events):
        if isinstance(record.kind, PhaseEntered):
            if record.kind.phase is LoopPhase.PERCEIVE:
                begun = True
            elif begun and record.kind.phase is LoopPhase.SLEEP:
                return events[: position + 1]
    return None


def _reason(told: _Told, mode: OperatingMode, *, waits: bool) -> tuple[str, str | None]:
    errored = told.last(RunErrored)
    if errored is not None:
        return (CANCELLED, None) if errored.error == CANCELLED else ("error", errored.error)
    if not told.has(RunStarted):
        return _reason_unstarted(told, mode)
    if waits:
        return "awaiting_approval", None
    if told.has(ToolCallRequested) or any(_is_refusal(custom) for custom in told.all(Custom)):
        return "tool_calls", None
    finished = told.last(RunFinished)
    return (finished.reason if finished and finished.reason in _STOPS else "completed"), None


def _reason_unstarted(told: _Told, mode: OperatingMode) -> tuple[str, str | None]:
    raised = told.last(ErrorRaised)
    if raised is not None and raised.message.startswith(BUDGET_EXCEEDED):
        return "budget_exceeded", raised.message
    if mode is OperatingMode.SLEEP:
        return "asleep", None
    return ("awaiting_approval" if mode is OperatingMode.ASK_HUMAN else "completed"), None


def _is_refusal(custom: Custom) -> bool:
    """Of a call."""
    return custom.event_type == CALL_REFUSED or custom.event_type.endswith(HARD_STOP)


def _run_id(told: _Told) -> str:
    for custom in told.all(Custom):
        if custom.event_type == TURN_STARTED:
            begun = _read(custom.data, _TurnStarted)
            return begun.run_id if begun else ""
    return ""


def _text(told: _Told) -> str:
    pieces: list[str] = []
    if told.has(TextDelta, Message):
        for kind in told.kinds:
            if isinstance(kind, TextDelta):
                pieces.append(kind.delta)
            elif isinstance(kind, Message) and kind.role == "assistant":
                pieces.append(kind.content)
    if pieces:
        return "".join(pieces)
    finished = told.last(RunFinished)
    return (finished.final_answer or "") if finished else ""


def _pending_approvals(told: _Told) -> tuple[PendingApproval, ...]:
    if not told.has(ApprovalRequested):
        return ()
    pending: dict[str, PendingApproval] = {}
    for kind in told.kinds:
        if isinstance(kind, ApprovalRequested):
            pending[kind.approval_id] = PendingApproval(
                approval_id=kind.approval_id,
                call_id=kind.call_id,
                tool_name=kind.tool_name,
                capability=kind.capability or "",
            )
        elif isinstance(kind, ApprovalResolved):
            pending.pop(kind.approval_id, None)
    return tuple(pending.values())


def _tool_results(told: _Told) -> tuple[ToolResult, ...]:
    if not told.has(ToolCallRequested):
        return ()
    results: list[ToolResult] = []
    open_calls: dict[str, list[int]] = {}
    """Places in `results` by call id: the kernel refuses a repeated id, the original did not."""
    for kind in told.kinds:
        if isinstance(kind, ToolCallRequested):
            open_calls.setdefault(kind.call_id, []).append(len(results))
            results.append(ToolResult(call_id=kind.call_id, tool_name=kind.tool_name, status="pending"))
        elif isinstance(kind, ToolCallCompleted | ToolCallFailed) and open_calls.get(kind.call_id or ""):
            place = open_calls[kind.call_id or ""].pop(0)
            results[place] = _ended(results[place], kind)
    return tuple(results)


def _ended(asked: ToolResult, end: ToolCallCompleted | ToolCallFailed) -> ToolResult:
    if isinstance(end, ToolCallFailed):
        return msgspec.structs.replace(asked, status="failed", error=end.error)
    return msgspec.structs.replace(
        asked, status=end.status.value, outcome=_read(end.result, Success) or _read(end.result, Failure)
    )


def _read(value: Json, shape: type[_T]) -> _T | None:
    try:
        read: _T = msgspec.convert(value, shape)
    except msgspec.ValidationError:
        return None
    return read
