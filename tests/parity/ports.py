"""What stands at the core's ports in a world without processes."""

from collections.abc import Mapping
from typing import Any

import msgspec

from tests.kit import apart
from tests.parity.script import DECLARED, Files, Script, error_text
from tests.parity.trace import Object, Trace
from tests.parity.workshop import Workshop
from vagus.contract import commands
from vagus.contract.approvals import ApprovalTicket
from vagus.contract.errors import Interrupted
from vagus.contract.extensions import GuardDecision
from vagus.contract.hashing import sha256_hex
from vagus.contract.messages import GateRequest, Report, ReportType, Verdict
from vagus.contract.models import CallTool, ModelCompletion
from vagus.contract.policy import PolicySet
from vagus.contract.state import AgentStateVector, OperatingMode
from vagus.contract.tools import FileMutation, ToolExecutionReport
from vagus_kernel.effects import CallModel, RunTool
from vagus_kernel.homeostasis import estimate_mode
from vagus_kernel.inputs import ModelAnswer, StartTick
from vagus_kernel.providers.baseline import Baseline
from vagus_kernel.state import Config, Session
from vagus_policygate.evaluate import OrganisationPolicy, evaluate


def config(trace: Trace) -> Config:
    """The settings under which a trace was made: no budget is enforced, loops only where it says so."""
    detectors = [m for m in trace.middlewares if m["type"] == "loop_detection"]
    settings = Config(
        circuit_breaker_errors=trace.config["circuit_breaker_errors"],
        checkpoint_every_ticks=trace.config["checkpoint_every_ticks"],
        enforce_budget=False,
        loop_detection=bool(detectors),
    )
    if not detectors:
        return settings
    # Several detectors with one window say together what one with the lowest of each threshold says.
    (window,) = {detector["window_size"] for detector in detectors}
    return msgspec.structs.replace(
        settings,
        loop_warning=min(detector["warning_threshold"] for detector in detectors),
        loop_hard_stop=min(detector["hard_stop_limit"] for detector in detectors),
        loop_window=window,
    )


class Middlewares:
    """The turn middlewares of a trace, as inputs of the core."""

    def __init__(self, trace: Trace) -> None:
        self._chain = trace.middlewares

    def around(self, session: Session, command: commands.Tick, patch: Object, config: Config) -> StartTick:
        """The tick as it gets through the middlewares; `Interrupted` if one ends it."""
        objective = command.tick.objective
        vector: AgentStateVector | None = None
        mode: OperatingMode | None = None
        branch = session.branches.get(command.branch_id)
        for middleware in self._chain:
            if middleware["type"] == "objective_prefix":
                objective = middleware["prefix"] + objective
            elif middleware["type"] == "short_circuit" and objective == "short-circuit":
                raise Interrupted(middleware["message"])
            elif middleware["type"] == "patch_state" and patch and branch is not None:
                estimated = estimate_mode(branch.memory.vector, branch.pending, config.circuit_breaker_errors)
                vector = _merged(branch.memory.vector, patch.get("state", {}))
                mode = OperatingMode(patch["mode"]) if "mode" in patch else estimated
        tick = msgspec.structs.replace(command.tick, objective=objective)
        call = tick.proposed_tool
        calls = (CallTool(call=call),) if call is not None else ()
        return StartTick(
            command=msgspec.structs.replace(command, tick=tick),
            vector=vector,
            mode=mode,
            guards=self.guards(ModelCompletion(directives=calls)),
        )

    def guards(self, completion: ModelCompletion) -> Mapping[str, GuardDecision]:
        """What the static guards say of each call."""
        said: dict[str, GuardDecision] = {}
        for directive in completion.directives:
            if isinstance(directive, CallTool):
                decision = self._judge(directive.call.tool_name)
                if decision is not None:
                    said[directive.call.call_id] = decision
        return said

    def _judge(self, tool: str) -> GuardDecision | None:
        warning: GuardDecision | None = None
        for guard in self._chain:
            if guard["type"] != "static_guard" or guard.get("only_tool") not in (None, tool):
                continue
            decision = GuardDecision(
                decision=guard["decision"],
                guard="static_guard",
                message=guard["message"],
                repetitions=guard["repetitions"],
                signature=guard["signature"],
            )
            if decision.decision in ("block", "error"):
                return decision
            warning = decision if decision.decision == "warn" else warning
        return warning


def _merged(vector: AgentStateVector, patch: Mapping[str, Any]) -> AgentStateVector:
    plain = msgspec.to_builtins(vector)
    budget = {**plain["budget"], **patch.get("budget", {})}
    return msgspec.convert({**plain, **patch, "budget": budget}, AgentStateVector)


class Provider:
    """The model: scripted, or the baseline provider where the trace has that."""

    def __init__(self, trace: Trace) -> None:
        self._trace = trace

    def answer(self, effect: CallModel, script: Script) -> tuple[float, ModelAnswer]:
        """How many milliseconds it thinks, and what it says."""
        branch, run = effect.branch_id, effect.effect_id
        if self._trace.baseline:
            completion = apart.run(Baseline().complete, effect.request)
            return 0, ModelAnswer(branch_id=branch, run_id=run, completion=completion)
        said = script.answer(effect.request.session_id, branch)
        wait = said.get("sleep_ms") or 0
        if "error" in said:
            return wait, ModelAnswer(branch_id=branch, run_id=run, error=error_text(said["error"]))
        completion = msgspec.convert(said["completion"], ModelCompletion)
        return wait, ModelAnswer(branch_id=branch, run_id=run, completion=completion)


class Gate:
    """The policy gate's judgement, without its signature."""

    def __init__(self, policy: PolicySet, workshop: Workshop, tickets: Mapping[str, ApprovalTicket]) -> None:
        self._policy, self._workshop, self._tickets = policy, workshop, tickets

    def judge(self, request: GateRequest) -> tuple[Verdict, Mapping[str, Any]]:
        """The verdict, and what a trace tells of it."""
        tool = self._workshop.known.get(request.call.tool_name)
        judgement = evaluate(request, tool, self._policy, OrganisationPolicy(), self._tickets)
        verdict = judgement.verdict
        told = {
            "requested": request.call.requested_capabilities,
            "decision": {
                "allowed": verdict.allowed,
                "requires_approval": verdict.requires_approval,
                "denied": verdict.denied,
            },
        }
        return msgspec.structs.replace(verdict, grant="grant" if judgement.positive else None), told


class Runner:
    """The tool runner: scripted reports on any tool, or the built-in tools themselves."""

    def __init__(self, script: Script, files: Files, workshop: Workshop, trace: Trace) -> None:
        self._script, self._files, self._workshop, self._trace = script, files, workshop, trace

    def run(self, session: str, effect: RunTool) -> Report:
        """How the run ended."""
        ended = self._workshop.run(session, effect) if self._trace.baseline else self._played(session, effect)
        if isinstance(ended, str):
            return Report(
                effect_id=effect.effect_id,
                type=ReportType.HARNESS_ERROR,
                tool_run_id=effect.tool_run_id,
                tool_name=effect.call.tool_name,
                error=ended,
            )
        return Report(
            effect_id=effect.effect_id,
            type=ReportType.REPORT,
            tool_run_id=effect.tool_run_id,
            tool_name=ended.tool_name,
            report=ended,
        )

    def _played(self, session: str, effect: RunTool) -> ToolExecutionReport | str:
        call = msgspec.to_builtins(effect.call)
        report, error = self._script.run(session, call)
        if report is None:
            return error or ""
        told = {"call_id": effect.call.call_id, "tool_name": effect.call.tool_name, **report}
        ended = msgspec.convert({**told, "tool_run_id": effect.tool_run_id}, ToolExecutionReport)
        return msgspec.structs.replace(ended, mutated=self._mutated(session, call, report))

    def _mutated(self, session: str, call: Object, report: Object) -> tuple[FileMutation, ...]:
        field = DECLARED.get(call["tool_name"])
        if field is None or report["outcome"]["status"] != "success":
            return ()
        path = call["input"][field]
        text = self._files.read(session, path)
        digest = "deleted" if text is None else sha256_hex(text.encode())
        return (FileMutation(path=path, content_hash=digest),)
