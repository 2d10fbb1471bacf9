"""Answers to effects: of the model, the gate, a runner, and the clock. A late one changes nothing."""

from typing import Final

from msgspec.structs import replace

from vagus.contract.events import (
    ApprovalRequested,
    Custom,
    FileMutated,
    PhaseEntered,
    PolicyEvaluated,
    ToolCallCompleted,
    ToolCallFailed,
    ToolCallStarted,
)
from vagus.contract.extensions import CallGranted, ModelAnswered
from vagus.contract.messages import Report, ReportType, Rule, Verdict
from vagus.contract.models import CallTool
from vagus.contract.policy import PolicyDecisionKind, SpanStatus
from vagus.contract.state import LoopPhase, OperatingMode, RiskLevel
from vagus.contract.tools import Success, ToolAnnotations, ToolCall, ToolExecutionReport
from vagus_kernel import homeostasis
from vagus_kernel.decide import turn
from vagus_kernel.decide.draft import Decision, Draft, Outcome
from vagus_kernel.inputs import Context, DeadlinePassed, GiveUp, ModelAnswer, ToolNeverRan, VerdictGiven
from vagus_kernel.state import Branch, Gating, Running, Session, Thinking, Turn


def model(session: Session, given: ModelAnswer, context: Context) -> Outcome:
    """The model answered, or failed."""
    match session.branches.get(given.branch_id):
        case Branch(turn=Turn(run_id=run_id, stage=Thinking())) if run_id == given.run_id:
            draft = Draft(session, given.branch_id, context, causation=given.run_id)
        case _:
            return Decision(session)
    if given.completion is None:
        turn.fail(draft, given.error or "the provider gave no answer")
        return draft.decision()
    completion = replace(given.completion, llm_call_record=None)
    if any(isinstance(directive, CallTool) for directive in completion.directives):
        draft.emit(ModelAnswered(completion=completion, guards=dict(given.guards)).event())
    else:
        turn.take_answer(draft, completion)
    turn.proceed(draft)
    return draft.decision()


def verdict(session: Session, given: VerdictGiven, context: Context) -> Outcome:
    """The gate answered."""
    said = given.verdict
    found = _gating(session, said)
    if found is None:
        return Decision(session)
    branch_id, gating = found
    draft = Draft(session, branch_id, context, causation=said.effect_id)
    call = gating.call
    if said.grant is not None and not said.denied and not said.requires_approval:
        draft.emit(
            PolicyEvaluated(
                tool_name=call.tool_name,
                decision=PolicyDecisionKind.ALLOW,
                rule_id=said.rule_id,
                explanation=said.explanation or None,
            )
        )
        draft.emit(
            CallGranted(tool_run_id=gating.tool_run_id, grant=said.grant, deadline=given.deadline).event()
        )
        draft.emit(PhaseEntered(phase=LoopPhase.EXECUTE))
        return draft.decision()
    if said.requires_approval and not said.denied and not gating.tickets:
        _ask(draft, gating, said)
    else:
        turn.refuse(draft, call, said.rule_id, _refusal(said))
    turn.proceed(draft)
    return draft.decision()


def _gating(session: Session, said: Verdict) -> tuple[str, Gating] | None:
    for branch in session.branches.values():
        match branch.turn:
            case Turn(stage=Gating(effect_id=effect_id) as gating, cancelling=False) if (
                effect_id == said.effect_id
            ):
                return branch.branch_id, gating
    return None


def _refusal(said: Verdict) -> str:
    denied = said.denied or said.requires_approval
    if said.rule_id == Rule.CAPABILITIES and denied:
        return f"capabilities denied: {','.join(denied)}"
    return said.explanation or "denied by the policy gate"


def _ask(draft: Draft, gating: Gating, said: Verdict) -> None:
    call = gating.call
    reason = f"approval required for tool {call.tool_name}"
    draft.emit(
        PolicyEvaluated(
            tool_name=call.tool_name,
            decision=PolicyDecisionKind.REQUIRE_APPROVAL,
            rule_id=said.rule_id,
            explanation=said.explanation or None,
        )
    )
    turn.raise_mode(draft, OperatingMode.ASK_HUMAN, reason)
    for capability in said.requires_approval:
        draft.emit(
            ApprovalRequested(
                approval_id=draft.mint.uuid(),
                call_id=call.call_id,
                tool_name=call.tool_name,
                arguments=call.input,
                risk=_risk(draft, call),
                capability=capability,
                reason=reason,
            )
        )


_LEVELS = tuple(RiskLevel)


def _risk(draft: Draft, call: ToolCall) -> RiskLevel:
    """Of a tool that only reads, the state's; of a destructive one, a level more; else at least medium."""
    definition = draft.context.tools.get(call.tool_name)
    says = definition.annotations if definition is not None else ToolAnnotations()
    level = _LEVELS.index(draft.vector.risk_level)
    if says.destructive:
        level = min(level + 1, len(_LEVELS) - 1)
    elif not says.read_only:
        level = max(level, _LEVELS.index(RiskLevel.MEDIUM))
    return _LEVELS[level]


def report(session: Session, given: Report, context: Context) -> Outcome:
    """A runner reported."""
    found = running(session, given.effect_id)
    if found is None:
        return Decision(session)
    branch_id, run = found
    draft = Draft(session, branch_id, context, causation=given.effect_id)
    if given.type is ReportType.STARTED:
        if run.started:
            return Decision(session)
        _started(draft, run, given.tool_name)
        return draft.decision()
    if given.type is ReportType.REPORT and given.report is not None:
        _completed(draft, run, given.report)
        turn.proceed(draft)
        return draft.decision()
    return _harness_error(draft, run, given.error or "the tool runner gave no reason")


def running(session: Session, effect_id: str) -> tuple[str, Running] | None:
    """The run that an effect id stands for, and its branch."""
    for branch in session.branches.values():
        match branch.turn:
            case Turn(stage=Running() as run) if run.effect_id == effect_id:
                return branch.branch_id, run
    return None


def _started(draft: Draft, run: Running, tool_name: str = "") -> None:
    name = tool_name or run.call.tool_name
    draft.emit(ToolCallStarted(tool_run_id=run.tool_run_id, tool_name=name, call_id=run.call.call_id))


_CUT_SHORT: Final = {status.value: status for status in (SpanStatus.TIMEOUT, SpanStatus.CANCELLED)}
"""What a runner may say of a run that is no success; anything else is an error."""


def _completed(draft: Draft, run: Running, report: ToolExecutionReport) -> None:
    success = isinstance(report.outcome, Success) and report.exit_status == 0
    status = SpanStatus.OK if success else _CUT_SHORT.get(report.status or "", SpanStatus.ERROR)
    if not run.started:
        _started(draft, run, report.tool_name)
    outcome = report.outcome
    result = (
        {"output": outcome.output, "status": "success"}
        if isinstance(outcome, Success)
        else {"error": outcome.error, "status": "failure"}
    )
    draft.emit(
        ToolCallCompleted(
            tool_run_id=run.tool_run_id,
            call_id=run.call.call_id,
            tool_name=report.tool_name,
            result=result,
            duration_ms=report.duration_ms,
            status=status,
        )
    )
    for mutation in report.mutated:
        draft.emit(FileMutated(path=mutation.path, content_hash=mutation.content_hash))
    draft.emit(Custom(event_type="ObservationExtracted", data={"observation_id": draft.mint.uuid()}))
    threshold = draft.context.config.circuit_breaker_errors
    mode = homeostasis.estimate_mode(draft.vector, _asked_before(draft), threshold)
    reason = f"post-tool homeostasis: tool={report.tool_name} exit={report.exit_status}"
    turn.raise_mode(draft, mode, reason)


def _asked_before(draft: Draft) -> int:
    """Tickets that count for the mode: of a resumed call, the others that still wait."""
    return draft.branch.pending if draft.turn.resumed else 0


def _harness_error(draft: Draft, run: Running, error: str) -> Outcome:
    if not draft.turn.cancelling:
        turn.raise_mode(draft, OperatingMode.RECOVER, f"tool execution error: {error}")
    else:
        error = "cancelled"
    draft.emit(ToolCallFailed(call_id=run.call.call_id, tool_name=run.call.tool_name, error=error))
    turn.proceed(draft)
    return draft.decision()


def deadline(session: Session, given: DeadlinePassed, context: Context) -> Outcome:
    """Nobody reported in time."""
    run = _run(session, given.branch_id, given.tool_run_id)
    if run is None:
        return Decision(session)
    draft = Draft(session, given.branch_id, context, causation=run.effect_id)
    error = (
        "outcome unknown: no report of the tool run before its deadline"
        if run.started or given.claimed
        else f"tool timed out: no runner of {run.call.tool_name} reported before the deadline"
    )
    return _harness_error(draft, run, error)


def never_ran(session: Session, given: ToolNeverRan, context: Context) -> Outcome:
    """A cancelled call was stopped before it started."""
    run = _run(session, given.branch_id, given.tool_run_id)
    if run is None:
        return Decision(session)
    return _harness_error(Draft(session, given.branch_id, context), run, "cancelled")


def _run(session: Session, branch_id: str, tool_run_id: str) -> Running | None:
    match session.branches.get(branch_id):
        case Branch(turn=Turn(stage=Running() as run)) if run.tool_run_id == tool_run_id:
            return run
    return None


def give_up(session: Session, given: GiveUp, context: Context) -> Outcome:
    """The turn cannot go on: end it in order."""
    match session.branches.get(given.branch_id):
        case Branch(turn=Turn(stage=stage)):
            draft = Draft(session, given.branch_id, context)
        case _:
            return Decision(session)
    match stage:
        case Gating(call=call) | Running(call=call):
            turn.raise_mode(draft, OperatingMode.RECOVER, given.reason)
            draft.emit(ToolCallFailed(call_id=call.call_id, tool_name=call.tool_name, error=given.reason))
    if draft.turn.resumed:
        turn.end(draft)
    else:
        turn.fail(draft, given.reason)
    return draft.decision()
