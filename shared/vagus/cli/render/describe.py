"""One event in a few words."""

from enum import Enum
from typing import Final, NamedTuple

import msgspec

from vagus.cli.render.text import clean, short_json
from vagus.contract import events
from vagus.contract.approvals import ApprovalDecision
from vagus.contract.events import EventKind
from vagus.contract.policy import PolicyDecisionKind, SpanStatus
from vagus.contract.state import LoopPhase

DETAIL: Final = 240
"""Characters of JSON and of error texts."""


class Weight(Enum):
    """How much an event matters to somebody who watches."""

    QUIET = "dim"
    PLAIN = ""
    LOUD = "bold"


class Line(NamedTuple):
    """What is shown of an event."""

    glyph: str
    style: str
    title: str
    detail: str = ""
    weight: Weight = Weight.PLAIN
    wraps: bool = False
    """Words that are to be read whole."""


def _quiet(title: str, detail: str = "") -> Line:
    return Line("·", "dim", title, detail, Weight.QUIET)


def describe(kind: EventKind) -> Line:
    """The event's line; of a kind that nobody has found words for, its name and its fields."""
    return _of_turn(kind) or _of_call(kind) or _of_session(kind) or _of_rest(kind)


def _of_turn(kind: EventKind) -> Line | None:
    match kind:
        case events.DeliberationProposed(summary=summary):
            return Line("▶", "bold cyan", "tick", clean(summary) or "(goes on)", Weight.LOUD, wraps=True)
        case events.PhaseEntered(phase=LoopPhase.SLEEP):
            return Line("■", "dim", "sleep", weight=Weight.QUIET)
        case events.PhaseEntered(phase=phase):
            return _quiet(str(phase))
        case events.Message(role=role, content=content):
            style = "bright_white" if role == "assistant" else "yellow"
            return Line("»", style, "", clean(content), Weight.LOUD, wraps=True)
        case events.TextDelta(delta=delta) | events.AssistantTextDelta(delta=delta):
            return Line("»", "bright_white", "", clean(delta), Weight.LOUD, wraps=True)
        case events.RunStarted():
            return _quiet("model asked")
        case events.StepStarted(index=index):
            return _quiet("step", str(index))
        case events.StepFinished(stop_reason=reason, directive_count=count):
            return _quiet("step done", f"{clean(reason)}, {count} directive{'' if count == 1 else 's'}")
        case events.RunFinished(reason=reason, usage=usage):
            tokens = "" if usage is None else f", {usage.total_tokens} tokens"
            return _quiet("run done", clean(reason) + tokens)
        case events.RunErrored(error=error):
            return Line("✗", "red", "run failed", clean(error, DETAIL), Weight.LOUD, wraps=True)
        case _:
            return None


def _of_call(kind: EventKind) -> Line | None:
    match kind:
        case events.ToolCallRequested(tool_name=tool, arguments=arguments):
            return Line("→", "cyan", tool, short_json(arguments, DETAIL))
        case events.PolicyEvaluated(decision=PolicyDecisionKind.ALLOW):
            return _quiet("policy", "allow")
        case events.PolicyEvaluated(decision=decision, rule_id=rule):
            return Line("·", "yellow", "policy", f"{str(decision).replace('_', ' ')} ({clean(rule or '')})")
        case events.ToolCallStarted(tool_name=tool):
            return _quiet("started", tool)
        case events.ToolCallCompleted(tool_name=tool, result=result, duration_ms=ms, status=SpanStatus.OK):
            output = result.get("output") if isinstance(result, dict) else result
            return Line("✓", "green", tool, f"{ms} ms  {short_json(output, DETAIL)}")
        case events.ToolCallCompleted(tool_name=tool, result=result, duration_ms=ms, status=status):
            error = result.get("error") if isinstance(result, dict) else result
            return Line("✗", "red", tool, f"{ms} ms  {status}: {clean(str(error), DETAIL)}", Weight.LOUD)
        case events.ToolCallFailed(tool_name=tool, error=error):
            return Line("✗", "red", tool, clean(error, DETAIL), Weight.LOUD)
        case events.ApprovalRequested(tool_name=tool, capability=capability):
            return Line("?", "bold yellow", f"{tool} needs approval", clean(capability or ""), Weight.LOUD)
        case events.ApprovalResolved(decision=ApprovalDecision.APPROVED, reason=reason):
            return Line("✓", "green", "approved", clean(reason or ""), Weight.LOUD)
        case events.ApprovalResolved(decision=decision, reason=reason):
            return Line("✗", "yellow", str(decision), clean(reason or ""), Weight.LOUD)
        case events.FileMutated(path=path, content_hash=digest):
            return Line("✎", "magenta", clean(path), digest[:12])
        case _:
            return None


def _of_session(kind: EventKind) -> Line | None:
    match kind:
        case events.SessionCreated():
            return Line("●", "bold green", "session created", weight=Weight.LOUD)
        case events.SessionResumed():
            return Line("↻", "yellow", "taken over by another kernel", weight=Weight.LOUD)
        case events.SessionClosed(reason=reason):
            return Line("■", "bold", "session closed", clean(reason), Weight.LOUD)
        case events.BranchCreated(from_branch=parent, fork_point_seq=fork):
            return Line("⎇", "bold green", "forked", f"from {parent or 'main'} at {fork}", Weight.LOUD)
        case events.BranchMerged(source_branch_id=source, merge_seq=sequence):
            return Line("⎇", "bold green", "merged", f"{source} at {sequence}", Weight.LOUD)
        case events.CheckpointCreated(checkpoint_id=name):
            return _quiet("checkpoint", name[:8])
        case events.CheckpointRestored(checkpoint_id=name, restored_to_seq=sequence):
            return Line("↺", "yellow", "restored", f"checkpoint {name[:8]} of {sequence}", Weight.LOUD)
        case events.Heartbeat(summary=summary):
            return _quiet("heartbeat", clean(summary))
        case events.StateEstimated(state=state, mode=mode):
            return _quiet(
                "state", f"{mode} · progress {state.progress:g} · uncertainty {state.uncertainty:g}"
            )
        case events.BudgetUpdated(budget=left):
            return _quiet(
                "budget", f"{left.tokens_remaining} tokens · {left.tool_calls_remaining} tool calls"
            )
        case events.ModeChanged(from_=before, to=after, reason=reason):
            return Line("~", "blue", f"{before} → {after}", clean(reason, DETAIL))
        case events.CircuitBreakerTripped(reason=reason, error_streak=streak):
            return Line("!", "bold red", "circuit breaker", f"{clean(reason)} ({streak})", Weight.LOUD)
        case _:
            return None


def _of_rest(kind: EventKind) -> Line:
    match kind:
        case events.ErrorRaised(message=message):
            return Line("!", "red", "error", clean(message, DETAIL), Weight.LOUD, wraps=True)
        case events.UserMessage(content=content):
            return Line("«", "bright_white", "", clean(content), Weight.LOUD, wraps=True)
        case events.Custom(event_type=name, data={"message": str(message)}) if "loop_detection" in name:
            return Line("!", "yellow", name, clean(message, DETAIL), Weight.LOUD, wraps=True)
        case events.Custom(event_type=name, data=data):
            ours = name.startswith("vagus.") or name == "ObservationExtracted"
            return _quiet(clean(name)) if ours else Line("•", "cyan", clean(name), short_json(data, DETAIL))
        case events.Unknown():
            return Line("•", "dim", clean(kind.type), clean(kind.raw.decode(errors="replace"), DETAIL))
        case _:
            fields = {
                name: value for name, value in msgspec.structs.asdict(kind).items() if value is not None
            }
            return Line("•", "cyan", kind.type, short_json(msgspec.to_builtins(fields), DETAIL))
