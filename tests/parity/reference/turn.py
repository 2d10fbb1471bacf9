"""A turn of the original, event by event (fact sheet 2.2 and 2.3)."""

from collections.abc import Mapping
from typing import Any

from msgspec.structs import replace

from tests.parity.reference import guards
from tests.parity.reference.conversation import conversation
from tests.parity.reference.course import Course
from tests.parity.reference.mind import after_run, as_json, estimate, patched
from tests.parity.reference.state import Failed, Ticket, Waiting
from tests.parity.schedule import Timed
from tests.parity.trace import Object
from vagus.contract.models import stop_reason_text


class Turn(Course):
    """One tick."""

    # The tick ---------------------------------------------------------------------------------------------

    def tick(self, step: Object) -> Timed[Any]:
        """All of it; returns what the original's tick returns."""
        runtime, objective = self.runtime, step["objective"]
        pending = [t for t in runtime.tickets.values() if t.session == self.session]
        if runtime.rules("W28"):
            pending = [ticket for ticket in pending if ticket.branch == self.branch]
        if runtime.fault("approval_list_pending") and not runtime.rules("W26"):
            pending = []
        self.mode = estimate(self.vector, len(pending), self.threshold)
        told_mode = False
        for middleware in runtime.trace.middlewares:
            if middleware["type"] == "objective_prefix":
                objective = middleware["prefix"] + objective
            elif middleware["type"] == "short_circuit" and objective == "short-circuit":
                raise Failed(middleware["message"])
            elif middleware["type"] == "patch_state" and step.get("patch"):
                self.vector = patched(self.vector, step["patch"].get("state", {}))
                told_mode = "mode" in step["patch"]
                self.mode = step["patch"].get("mode", self.mode)
        call = step["proposed_tool"]
        self.phase("perceive")
        self.phase("deliberate")
        self.emit(
            "DeliberationProposed", summary=objective, proposed_tool=call["tool_name"] if call else None
        )
        self._estimate(objective, len(pending), told_mode=told_mode)
        if self.mode not in ("ask_human", "sleep"):
            yield from self._run(step, objective, call)
            self.trip()
        self.end()
        return {
            "session_id": self.session,
            "mode": self.mode,
            "state": as_json(self.vector),
            "events_emitted": self.emitted,
            "last_sequence": self.held.branches[self.branch].next - 1,
        }

    def _estimate(self, objective: str, pending: int, *, told_mode: bool) -> None:
        runtime = self.runtime
        wakes = (
            runtime.rules("W2")
            and self.mode == "sleep"
            and not told_mode
            and bool(objective)
            and objective != self.mind.objective
        )
        self.mind.objective = objective or self.mind.objective
        reason = "state estimated"
        if wakes:
            self.vector = replace(self.vector, progress=0.0)
            self.mode = estimate(self.vector, pending, self.threshold)
            reason = "new objective"
        if self.mode != self.recorded and (wakes or runtime.rules("W11")):
            self._mode_changed(self.recorded, reason)
        self.recorded = self.mode
        self.lowest = self.vector.error_streak
        self.emit("StateEstimated", state=as_json(self.vector), mode=self.mode)

    def _run(self, step: Object, objective: str, call: Object | None) -> Timed[None]:
        self.emit("RunStarted", provider="canonical", max_iterations=1)
        self.emit("StepStarted", index=0)
        if call is not None:
            self._complete({"model": "inline", "directives": [], "stop_reason": "tool_call"}, [call], step)
            return
        self._request(step, objective)
        completion, error, wait = self.ports.answer(self.session, self.branch, objective)
        if wait:
            yield wait
        if completion is None:
            self._error(error)
        else:
            self._complete(completion, completion.get("directives", []), step)

    def _request(self, step: Object, objective: str) -> None:
        runtime, branch = self.runtime, self.held.branches[self.branch]
        kinds = [event.kind for event in runtime.log(self.session, self.branch)]
        if not runtime.rules("W48"):
            kinds = kinds[:10_000]
        if runtime.rules("W47"):
            kinds = kinds[: self.first]
        history = conversation(kinds, branch.prefix)
        if runtime.fault("read") and not runtime.rules("W49"):
            history = []
        request = {
            "session_id": self.session,
            "branch_id": self.branch,
            "run_id": runtime.new_id(),
            "step_index": 0,
            "objective": objective,
            "system_prompt": step.get("system_prompt"),
            "allowed_tools": step.get("allowed_tools"),
            "conversation_history": history or None,
        }
        self.output.model_requests.append({k: v for k, v in request.items() if v is not None})

    def _complete(self, completion: Object, directives: list[Any], step: Object) -> None:
        model, usage = completion["model"], completion.get("usage")
        try:
            for directive in directives:
                self._directive(directive, model, usage, step)
        except _Broken as error:
            self._error(error.text)
            return
        stop = stop_reason_text(completion.get("stop_reason", "completed"))
        self.phase("commit")
        self.emit("StepFinished", index=0, stop_reason=stop, directive_count=len(directives))
        self.emit(
            "RunFinished",
            reason=stop,
            total_iterations=1,
            final_answer=completion.get("final_answer"),
            usage=usage,
        )

    def _directive(self, directive: Object, model: str, usage: Object | None, step: Object) -> None:
        match directive.get("type"):
            case "text_delta":
                self.emit("TextDelta", delta=directive["delta"], index=directive.get("index"))
            case "message":
                role, content = directive["role"], directive["content"]
                self.emit("Message", role=role, content=content, model=model, token_usage=usage)
            case "tool_call":
                self._call(directive["call"], model, step)
            case _:
                self._call(directive, model, step)

    # Calls ------------------------------------------------------------------------------------------------

    def _call(self, call: Object, model: str, step: Object) -> None:
        calls = self.held.branches[self.branch].calls
        if self.runtime.rules("W43") and call["call_id"] in calls:
            return
        if self._guarded(call, model):
            return
        self.phase("gate")
        calls.add(call["call_id"])
        call_id, tool = call["call_id"], call["tool_name"]
        self.emit("ToolCallRequested", call_id=call_id, tool_name=tool, arguments=call["input"])
        allowed = step.get("allowed_tools")
        if self.runtime.rules("W38") and allowed is not None and tool not in allowed:
            self._deny(call, f"tool not allowed: {tool}")
            return
        self._gate(call)

    def _guarded(self, call: Object, model: str) -> bool:
        """Whether a guard stops the call."""
        middlewares = self.runtime.trace.middlewares
        seen = self.mind.loop if self.runtime.rules("W74") else self.held.mind.loop
        while len(seen) < sum(m["type"] == "loop_detection" for m in middlewares):
            seen.append([])
        said = guards.judge(middlewares, call, seen)
        if said is None:
            return False
        if said.decision == "error":
            raise (_Broken if self.runtime.rules("W41") else Failed)(said.message)
        name = said.guard if self.runtime.rules("W75") else "loop_detection"
        self.emit("Custom", **said.custom(call, name))
        role = "assistant" if said.decision == "block" else "system"
        self.emit("Message", role=role, content=said.message, model=model)
        return said.decision == "block"

    def _gate(self, call: Object) -> None:
        if not self.runtime.rules("W41"):
            self.runtime.fail("policy_evaluate")
        decision, refusal = self.ports.judge(self.held.policy, call)
        self.output.policy_decisions.append(
            {"requested": call["requested_capabilities"], "decision": _lists(decision)}
        )
        if refusal or decision.denied:
            self._deny(call, refusal or f"capabilities denied: {','.join(decision.denied)}")
        elif decision.requires_approval:
            self._ask(call, decision.requires_approval)
        else:
            self.phase("execute")
            self.execute(call)

    def _deny(self, call: Object, text: str) -> None:
        self._penalty()
        self.set_mode("recover", text)
        self.fail_call(call, text)

    def fail_call(self, call: Object, text: str) -> None:
        self.emit("ToolCallFailed", call_id=call["call_id"], tool_name=call["tool_name"], error=text)

    def _ask(self, call: Object, capabilities: tuple[str, ...]) -> None:
        runtime, tool = self.runtime, call["tool_name"]
        self.set_mode("ask_human", f"approval required for tool {tool}")
        waiting = Waiting()
        for capability in capabilities:
            if not runtime.rules("W26"):
                runtime.fail("approval_enqueue")
            ticket = Ticket(runtime.new_id(), self.session, self.branch, dict(call), capability, waiting)
            runtime.tickets[ticket.approval_id] = ticket
            runtime.asked.append(ticket.approval_id)
            waiting.open += 1
            self.emit(
                "ApprovalRequested",
                approval_id=ticket.approval_id,
                call_id=call["call_id"],
                tool_name=tool,
                arguments=call["input"],
                risk="medium",
            )

    def execute(self, call: Object) -> None:
        """Run the tool, and take in what it gave."""
        workspace = self.held.manifest["workspace_root"]
        self.output.tool_requests.append(
            {"session_id": self.session, "workspace_root": workspace, "call": call}
        )
        report, error = self.ports.run(self.session, self.held.policy, call)
        if report is None:
            self._penalty()
            self.set_mode("recover", f"tool execution error: {error}", original=True)
            self.fail_call(call, error or "")
        else:
            self._report(call, report)

    def _report(self, call: Object, report: Object) -> None:
        runtime, outcome = self.runtime, report["outcome"]
        run = runtime.new_id() if runtime.rules("W37") else report["tool_run_id"]
        tool, exit_status = report.get("tool_name", call["tool_name"]), report["exit_status"]
        ok = exit_status == 0 and (outcome["status"] == "success" or not runtime.rules("W9"))
        self.emit("ToolCallStarted", tool_run_id=run, tool_name=tool)
        self.emit(
            "ToolCallCompleted",
            tool_run_id=run,
            call_id=call["call_id"],
            tool_name=tool,
            result=outcome,
            duration_ms=report["duration_ms"] if runtime.rules("W32") else 0,
            status="ok" if ok else "error",
        )
        try:
            mutation = self.ports.mutation(self.session, call, outcome)
        except IsADirectoryError:
            raise Failed("Is a directory (os error 21)") from None
        if mutation is not None:
            self.emit("FileMutated", **mutation)
        data = {"observation_id": runtime.new_id()}
        self.emit("Custom", event_type="ObservationExtracted", data=data)
        self.vector = after_run(self.vector, ok=ok)
        self.failed = self.failed or not ok
        self.lowest = min(self.lowest, self.vector.error_streak)
        mode = estimate(self.vector, self.pending_others, self.threshold)
        self.set_mode(mode, f"post-tool homeostasis: tool={tool} exit={exit_status}", original=True)


class _Broken(Exception):
    """A guard broke, and the turn ends in order (W41)."""

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self.text = text


def _lists(decision: Any) -> Mapping[str, list[str]]:
    return {name: list(getattr(decision, name)) for name in ("allowed", "requires_approval", "denied")}
