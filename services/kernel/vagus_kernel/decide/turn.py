"""How a turn goes on and how it ends: the pipeline of fact sheet 2.2, as ruled."""

from collections import deque

from msgspec.structs import replace

from vagus.contract.events import (
    BudgetUpdated,
    CheckpointCreated,
    CircuitBreakerTripped,
    Custom,
    Heartbeat,
    Message,
    PhaseEntered,
    PolicyEvaluated,
    RunErrored,
    RunFinished,
    StateEstimated,
    StepFinished,
    TextDelta,
    ToolCallFailed,
    ToolCallRequested,
)
from vagus.contract.extensions import CallRefused, GuardDecision
from vagus.contract.hashing import call_signature, state_hash
from vagus.contract.messages import Rule
from vagus.contract.models import CallTool, ModelCompletion, ModelDirective, TokenUsage, stop_reason_text
from vagus.contract.models import Message as Say
from vagus.contract.models import TextDelta as Delta
from vagus.contract.policy import PolicyDecisionKind
from vagus.contract.state import LoopPhase, OperatingMode
from vagus.contract.tools import ToolCall
from vagus_kernel import loops
from vagus_kernel.decide.draft import Draft
from vagus_kernel.state import Answer, Gating, remembered


def proceed(draft: Draft) -> None:
    """Carry out the directives that are left, up to the next call to be gated; else finish the turn."""
    turn = draft.turn
    if turn.resumed:
        end(draft)
        return
    answer = turn.answer
    model = answer.model if answer else "inline"
    usage = answer.usage if answer else None
    if not turn.cancelling:
        directives: deque[ModelDirective] = deque(turn.directives)
        while directives:
            if _carry_out(draft, directives.popleft(), model, usage):
                return
    if draft.turn.cancelling:
        draft.emit(RunErrored(error="cancelled"))
        end(draft)
    else:
        finish(draft, answer or Answer(model=model, stop_reason="tool_call", directive_count=1))


def _carry_out(draft: Draft, directive: ModelDirective, model: str, usage: TokenUsage | None) -> bool:
    """Whether the turn now waits for the gate, or is over."""
    match directive:
        case Delta(delta=delta, index=index):
            draft.emit(TextDelta(delta=delta, index=index))
        case Say(role=role, content=content):
            draft.emit(Message(role=role, content=content, model=model, token_usage=usage))
        case CallTool(call=call):
            return request(draft, call, model)
    return False


def request(draft: Draft, call: ToolCall, model: str) -> bool:
    """Ask for one tool call; False: it was refused or blocked, and the turn goes on without it."""
    branch = draft.branch
    if remembered(call.call_id) in branch.calls or any(
        w.call.call_id == call.call_id for w in branch.waiting
    ):
        reason = f"call id {call.call_id} was used before: give every call an id of its own"
        draft.emit(CallRefused(call_id=call.call_id, tool_name=call.tool_name, reason=reason).event())
        return False
    verdict = _guard(draft, call)
    if verdict.decision == "error":
        fail(draft, verdict.message)
        return True
    if verdict.decision != "allow":
        _record_guard(draft, call, verdict, model)
        if verdict.decision == "block":
            return False
    draft.emit(PhaseEntered(phase=LoopPhase.GATE))
    definition = draft.context.tools.get(call.tool_name)
    draft.emit(
        ToolCallRequested(
            call_id=call.call_id,
            tool_name=call.tool_name,
            arguments=call.input,
            category=definition.category if definition else None,
        )
    )
    allowed = draft.turn.allowed_tools
    if allowed is not None and call.tool_name not in allowed:
        refuse(draft, call, Rule.TOOL_NOT_ALLOWED, f"tool not allowed: {call.tool_name}")
        return False
    if draft.context.config.enforce_budget and draft.vector.budget.tool_calls_remaining <= 0:
        refuse(draft, call, Rule.BUDGET, "budget exceeded: tool_calls_remaining")
        return False
    return True


def _guard(draft: Draft, call: ToolCall) -> GuardDecision:
    """The first block wins; else the last warning. Loop detection is asked first."""
    signature = call_signature(call.tool_name, call.input)
    detected = loops.classify(draft.context.config, draft.branch.memory.loop, signature, call.tool_name)
    verdicts = [detected, *(said for call_id, said in draft.turn.guards if call_id == call.call_id)]
    for verdict in verdicts:
        if verdict.decision in ("block", "error"):
            return verdict
    warnings = [verdict for verdict in verdicts if verdict.decision == "warn"]
    return warnings[-1] if warnings else GuardDecision()


def _record_guard(draft: Draft, call: ToolCall, verdict: GuardDecision, model: str) -> None:
    blocked = verdict.decision == "block"
    draft.emit(
        Custom(
            event_type=f"{verdict.guard}.{'hard_stop' if blocked else 'warning'}",
            data={
                "call_id": call.call_id,
                "message": verdict.message,
                "repetitions": verdict.repetitions,
                "signature": verdict.signature,
                "tool_name": call.tool_name,
            },
        )
    )
    role = "assistant" if blocked else "system"
    draft.emit(Message(role=role, content=verdict.message, model=model))


def refuse(draft: Draft, call: ToolCall, rule: str, text: str) -> None:
    """The call will not run: an error of the agent's, unless its budget is simply spent."""
    draft.emit(
        PolicyEvaluated(
            tool_name=call.tool_name, decision=PolicyDecisionKind.DENY, rule_id=rule, explanation=text
        )
    )
    if not (isinstance(draft.turn.stage, Gating) and draft.turn.stage.exempt):
        raise_mode(draft, OperatingMode.RECOVER, text)
    draft.emit(ToolCallFailed(call_id=call.call_id, tool_name=call.tool_name, error=text))


def raise_mode(draft: Draft, mode: OperatingMode, reason: str) -> None:
    """Change the mode unless this turn holds a higher one: ask_human, then recover, then the rest."""
    turn = draft.turn
    if turn.asked and mode is not OperatingMode.ASK_HUMAN:
        return
    if turn.recovering and mode not in (OperatingMode.ASK_HUMAN, OperatingMode.RECOVER):
        return
    draft.change_mode(mode, reason)


def take_answer(draft: Draft, completion: ModelCompletion) -> None:
    """Take a text answer into the turn: all its directives become events of this commit."""
    answer = Answer(
        model=completion.model,
        stop_reason=completion.stop_reason,
        directive_count=len(completion.directives),
        usage=completion.usage,
        final_answer=completion.final_answer,
    )
    draft.set_turn(answer=answer, directives=completion.directives)


def finish(draft: Draft, answer: Answer) -> None:
    """The step and the run are over."""
    reason = stop_reason_text(answer.stop_reason)
    draft.emit(PhaseEntered(phase=LoopPhase.COMMIT))
    draft.emit(StepFinished(index=0, stop_reason=reason, directive_count=answer.directive_count))
    draft.emit(
        RunFinished(reason=reason, total_iterations=1, final_answer=answer.final_answer, usage=answer.usage)
    )
    end(draft)


def fail(draft: Draft, error: str) -> None:
    """The run broke off: the provider failed, or it was given up."""
    raise_mode(draft, OperatingMode.RECOVER, f"run error: {error}")
    draft.emit(RunErrored(error=error))
    end(draft)


def end(draft: Draft) -> None:
    """Breaker, reflection, accounting, checkpoint, heartbeat, sleep."""
    turn, config = draft.turn, draft.context.config
    vector = draft.vector
    if turn.ran and not turn.failed and not turn.cancelling and vector.error_streak:
        vector = replace(vector, error_streak=0)
    if turn.streak < config.circuit_breaker_errors <= vector.error_streak:
        reason = "error streak exceeded threshold"
        raise_mode(draft, OperatingMode.RECOVER, reason)
        draft.emit(CircuitBreakerTripped(reason=reason, error_streak=vector.error_streak))
    draft.emit(PhaseEntered(phase=LoopPhase.REFLECT))
    draft.emit(BudgetUpdated(budget=vector.budget, reason="tick accounting"))
    estimated = draft.emit(StateEstimated(state=vector, mode=draft.branch.mode))
    checkpoint: str | None = None
    if (draft.session.tick_count + 1) % config.checkpoint_every_ticks == 0:
        checkpoint = draft.mint.uuid()
        draft.emit(
            CheckpointCreated(
                checkpoint_id=checkpoint, event_sequence=estimated.sequence, state_hash=state_hash(vector)
            )
        )
    draft.emit(Heartbeat(summary="tick complete", checkpoint_id=checkpoint))
    draft.emit(PhaseEntered(phase=LoopPhase.SLEEP))
