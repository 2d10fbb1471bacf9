"""What the log says of a tick, in the words of its reply."""

from collections.abc import Sequence
from typing import Any, Final

import msgspec

from chaos.checker.event import (
    ApprovalRequested,
    ApprovalResolved,
    CallRefused,
    Custom,
    ErrorRaised,
    Event,
    Kind,
    Message,
    RunErrored,
    RunFinished,
    RunStarted,
    StateEstimated,
    TextDelta,
    ToolCallCompleted,
    ToolCallFailed,
    ToolCallRequested,
    TurnStarted,
)

SPENT: Final = "budget exceeded"
CANCELLED: Final = "cancelled"


def output(events: Sequence[Event]) -> dict[str, Any]:
    """The fields of a reply's `ok`, from all events of one tick."""
    kinds = [event.kind for event in events]
    estimates = [kind for kind in kinds if isinstance(kind, StateEstimated)]
    estimate = estimates[-1] if estimates else None
    mode = estimate.mode if estimate is not None else ""
    pending = _pending(kinds)
    reason, error = _reason(kinds, mode, waits=bool(pending))
    return {
        "session_id": events[-1].session_id,
        "branch_id": events[-1].branch_id,
        "mode": mode,
        "state": msgspec.to_builtins(estimate.state) if estimate is not None else None,
        "events_emitted": sum(not event.extension for event in events),
        "last_sequence": events[-1].sequence,
        "run_id": next((kind.run_id for kind in kinds if isinstance(kind, TurnStarted)), ""),
        "text": _text(kinds),
        "tool_results": _results(kinds),
        "pending_approvals": pending,
        "reason": reason,
        "error": error,
    }


def _reason(kinds: Sequence[Kind], mode: str, *, waits: bool) -> tuple[str, str | None]:
    """Why the tick ended, and with what error. What broke it off outranks what it waits for."""
    found: dict[type[Kind], Kind] = {type(kind): kind for kind in kinds}  # the last of each type
    broken = found.get(RunErrored)
    if isinstance(broken, RunErrored):
        return (CANCELLED, None) if broken.error == CANCELLED else ("error", broken.error)
    if RunStarted not in found:
        raised = found.get(ErrorRaised)
        if isinstance(raised, ErrorRaised) and raised.message.startswith(SPENT):
            return "budget_exceeded", raised.message
        return {"sleep": "asleep", "ask_human": "awaiting_approval"}.get(mode, "completed"), None
    if waits:
        return "awaiting_approval", None
    if any(map(_is_call, kinds)):
        return "tool_calls", None
    finished = found.get(RunFinished)
    told = finished.reason if isinstance(finished, RunFinished) else ""
    return (told if told in ("error", CANCELLED) else "completed"), None


def _is_call(kind: Kind) -> bool:
    """Whether the model, or the client, wanted a tool: also one that was refused or blocked."""
    if isinstance(kind, Custom):
        return kind.event_type.endswith(".hard_stop")
    return isinstance(kind, ToolCallRequested | CallRefused)


def _text(kinds: Sequence[Kind]) -> str:
    pieces = [
        kind.delta if isinstance(kind, TextDelta) else kind.content
        for kind in kinds
        if isinstance(kind, TextDelta) or (isinstance(kind, Message) and kind.role == "assistant")
    ]
    if pieces:
        return "".join(pieces)
    answers = [kind.final_answer for kind in kinds if isinstance(kind, RunFinished)]
    return (answers[-1] or "") if answers else ""


def _pending(kinds: Sequence[Kind]) -> list[dict[str, str]]:
    resolved = {kind.approval_id for kind in kinds if isinstance(kind, ApprovalResolved)}
    return [
        {
            "approval_id": kind.approval_id,
            "call_id": kind.call_id,
            "tool_name": kind.tool_name,
            "capability": kind.capability,
        }
        for kind in kinds
        if isinstance(kind, ApprovalRequested) and kind.approval_id not in resolved
    ]


def _results(kinds: Sequence[Kind]) -> list[dict[str, Any]]:
    results: dict[str, dict[str, Any]] = {}
    for kind in kinds:
        match kind:
            case ToolCallRequested(call_id=call_id, tool_name=tool_name):
                results[call_id] = {"call_id": call_id, "tool_name": tool_name, "status": "pending"}
            case ToolCallCompleted(call_id=call_id, status=status, result=result) if call_id in results:
                results[call_id] |= {"status": status, "outcome": result}
            case ToolCallFailed(call_id=call_id, error=error) if call_id in results:
                results[call_id] |= {"status": "failed", "error": error}
    return list(results.values())
