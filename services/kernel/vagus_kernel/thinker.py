"""Asks the model, in a task of its own, and lets the guards judge what it asks for."""

import logging
from collections.abc import Callable, Mapping, Sequence
from uuid import uuid4

import anyio
import msgspec
from anyio.abc import TaskGroup
from msgspec.structs import replace

from vagus.contract.errors import VagusError
from vagus.contract.extensions import GuardDecision
from vagus.contract.limits import COMPLETION_BYTES
from vagus.contract.models import CallTool, ModelCompletion, ModelRouting
from vagus.contract.sessions import TickInput
from vagus.contract.tools import ToolCall
from vagus.runtime import telemetry
from vagus_kernel.effects import CallModel
from vagus_kernel.inputs import ModelAnswer
from vagus_kernel.middleware import Guard, TurnContext
from vagus_kernel.ports import Ports
from vagus_kernel.state import Session

_log = logging.getLogger(__name__)

GUARD_TIMEOUT_S = 30.0
"""What one guard may take for one call."""
POLL_S = 0.05


class Thinker:
    """Model calls of one session."""

    def __init__(self, ports: Ports, tasks: TaskGroup, post: Callable[[ModelAnswer], None]) -> None:
        self._ports = ports
        self._tasks = tasks
        self._post = post
        self._calls: dict[str, anyio.CancelScope] = {}

    def forget(self, effect_id: str) -> None:
        """Nobody waits for this call's answer any more: end it."""
        scope = self._calls.get(effect_id)
        if scope is not None:
            scope.cancel()

    def think(
        self,
        effect: CallModel,
        session: Session | None,
        guards: Callable[[], Sequence[Guard] | None],
        traceparent: str | None,
    ) -> None:
        """Start one model call; its answer is posted, whatever happens, unless it is forgotten before.

        `guards` gives None while the turn's middlewares, which add them, are not back from a crash.
        """
        if session is not None and session.manifest is not None:
            self._tasks.start_soon(self._call, effect, session, guards, traceparent)

    async def _call(
        self,
        effect: CallModel,
        session: Session,
        guards: Callable[[], Sequence[Guard] | None],
        traceparent: str | None,
    ) -> None:
        with anyio.CancelScope() as scope:
            self._calls[effect.effect_id] = scope
            try:
                self._post(await self._answer(effect, session, guards, traceparent))
            finally:
                del self._calls[effect.effect_id]

    async def _answer(
        self,
        effect: CallModel,
        session: Session,
        guards: Callable[[], Sequence[Guard] | None],
        traceparent: str | None,
    ) -> ModelAnswer:
        manifest = session.manifest
        routing = manifest.model_routing if manifest is not None else ModelRouting()
        try:
            completion = await self._complete(effect, routing, traceparent)
            ctx = turn_context(session, effect.branch_id, TickInput(objective=effect.request.objective))
            completion = identified(completion)
            check_size(completion)
            calls = [d.call for d in completion.directives if isinstance(d, CallTool)]
            standing = await _standing(guards) if calls else ()
            return ModelAnswer(
                branch_id=effect.branch_id,
                run_id=effect.effect_id,
                completion=completion,
                guards=await judge(standing, ctx, calls),
            )
        except VagusError as error:
            return ModelAnswer(branch_id=effect.branch_id, run_id=effect.effect_id, error=error.message)
        except Exception as error:  # a provider's bug must not take the session's owner down
            _log.exception("the model provider failed")
            text = f"{type(error).__name__}: {error}"
            return ModelAnswer(branch_id=effect.branch_id, run_id=effect.effect_id, error=text)

    async def _complete(
        self, effect: CallModel, routing: ModelRouting, traceparent: str | None
    ) -> ModelCompletion:
        provider = self._ports.providers.of(routing)
        attributes = {
            telemetry.OPERATION: telemetry.CHAT,
            telemetry.SYSTEM: provider.name,
            telemetry.MODEL: routing.primary_model,
            telemetry.OTEL_SESSION_ID: effect.request.session_id,
        }
        timeout_s = self._ports.settings.provider_timeout_s
        began = anyio.current_time()
        with telemetry.span(telemetry.CHAT, attributes, traceparent) as span:
            try:
                with anyio.fail_after(timeout_s):
                    completion = await provider.complete(effect.request)
            except TimeoutError as error:
                raise VagusError(
                    f"model provider {provider.name} gave no answer in {timeout_s:g} s"
                ) from error
            if completion.usage is not None:
                span.set(telemetry.INPUT_TOKENS, completion.usage.prompt_tokens)
                span.set(telemetry.OUTPUT_TOKENS, completion.usage.completion_tokens)
                telemetry.record_tokens(
                    completion.model, completion.usage.prompt_tokens, completion.usage.completion_tokens
                )
        telemetry.record_duration(telemetry.CHAT, anyio.current_time() - began, completion.model)
        return completion


def identified(completion: ModelCompletion) -> ModelCompletion:
    """The completion with an id for every call that has none: guards and the log tell calls apart by it."""
    return replace(
        completion,
        directives=tuple(
            replace(directive, call=replace(directive.call, call_id=str(uuid4())))
            if isinstance(directive, CallTool) and not directive.call.call_id
            else directive
            for directive in completion.directives
        ),
    )


def check_size(completion: ModelCompletion) -> None:
    """Raise `VagusError` if the answer is too long to be kept; what the provider says of its call is not."""
    size = len(msgspec.json.encode(replace(completion, llm_call_record=None)))
    if size > COMPLETION_BYTES:
        raise VagusError(f"the model's answer of {size} bytes is over the limit of {COMPLETION_BYTES}")


def turn_context(session: Session, branch_id: str, tick: TickInput) -> TurnContext:
    """What middlewares and guards see of a branch; the session has a manifest."""
    branch = session.branches[branch_id]
    if session.manifest is None:
        raise AssertionError("a session without a manifest has no turns")
    return TurnContext(
        session_id=session.session_id,
        branch_id=branch_id,
        manifest=session.manifest,
        input=tick,
        state=branch.memory.vector,
        mode=branch.mode,
        pending_approvals=branch.pending,
    )


async def _standing(guards: Callable[[], Sequence[Guard] | None]) -> Sequence[Guard]:
    with anyio.move_on_after(GUARD_TIMEOUT_S):
        while (found := guards()) is None:  # noqa: ASYNC110 - only after a crash, and bounded
            await anyio.sleep(POLL_S)
        return found
    raise VagusError("the turn's middlewares did not come back after a crash")


async def judge(
    guards: Sequence[Guard], ctx: TurnContext, calls: Sequence[ToolCall]
) -> Mapping[str, GuardDecision]:
    """What the guards say of each call, by call id: the first block or error, else the last warning."""
    said: dict[str, GuardDecision] = {}
    for call in calls if guards else ():
        for guard in guards:
            decision = await _ask(guard, ctx, call)
            if decision.decision == "allow":
                continue
            said[call.call_id] = decision
            if decision.decision in ("block", "error"):
                break
    return said


async def _ask(guard: Guard, ctx: TurnContext, call: ToolCall) -> GuardDecision:
    try:
        with anyio.fail_after(GUARD_TIMEOUT_S):
            decision = await guard.on_tool_call(ctx, call)
    except Exception as error:  # RULINGS W41: a guard that breaks ends the turn in order
        _log.warning("guard %s failed: %s", guard.name, error)
        return GuardDecision(decision="error", guard=guard.name, message=str(error) or type(error).__name__)
    if decision.decision == "allow":
        return decision
    return GuardDecision(
        decision=decision.decision,
        guard=guard.name,
        message=decision.message,
        repetitions=decision.repetitions,
        signature=decision.signature,
    )
