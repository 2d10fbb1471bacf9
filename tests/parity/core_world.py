"""The pure core in a world without a broker: gate, model, tools and approver are simulated at its ports."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec

from tests.parity.account import Account, Json, Output
from tests.parity.core_kernel import NOW, CoreKernel
from tests.parity.ports import Gate, Middlewares, Provider, Runner
from tests.parity.schedule import Timed, alone, run
from tests.parity.script import Files, Script
from tests.parity.trace import Object, Trace, addressed
from tests.parity.workshop import Workshop
from vagus.contract import commands, policy
from vagus.contract.approvals import ApprovalDecision, Resolution, TicketState
from vagus.contract.errors import ApprovalNotPending, VagusError
from vagus.contract.events import EventRecord
from vagus.contract.ids import MAIN
from vagus.contract.models import ModelRouting
from vagus.contract.outcome import tick_output
from vagus.contract.sessions import SessionManifest
from vagus_kernel import inputs
from vagus_kernel.effects import AskApproval, AskGate, CallModel, RunTool
from vagus_kernel.react import react
from vagus_kernel.state import Session

DEADLINE = "2026-04-05T12:00:30Z"


class CoreWorld:
    """Plays one trace."""

    def __init__(self, trace: Trace, workspaces: Path) -> None:
        self.trace = trace
        self.account = Account()
        self._workshop = Workshop(trace, workspaces)
        self.kernel = CoreKernel(trace, self._workshop, self.account)
        self._files = Files()
        self._busy: set[tuple[str, str]] = set()
        self._middlewares = Middlewares(trace)
        self._provider = Provider(trace)
        self._output = Output("")
        self._script = Script(self._files)

    @property
    def records(self) -> Sequence[EventRecord]:
        """Every record that was written, extension events too."""
        return self.kernel.narrator.records

    def play(self) -> Account:
        """All steps, and at the end the proof that the log holds all that the live state does."""
        for number, step in enumerate(self.trace.steps):
            self._step(number, step)
        self.kernel.restart()
        return self.account

    def _step(self, number: int, step: Object) -> None:
        self.kernel.step = number
        self._script = Script(self._files)
        self._output = Output(step["op"])
        self.account.outputs.append(self._output)
        handler = getattr(self, f"_{step['op']}", self._nothing)
        try:
            self._output.ok = handler(addressed(step, self.kernel.sessions))
        except VagusError as error:
            self._output.error, self._output.error_type = error.message, error.type

    def _nothing(self, step: Object) -> None:
        """Faults of stores, and files changed behind the original's back: there is no such thing here."""

    def _restart(self, step: Object) -> None:
        self.kernel.restart()

    # Sessions and branches --------------------------------------------------------------------------------

    def _create_session(self, step: Object) -> Json:
        session_id = step.get("session_id") or self.kernel.mint.uuid()
        body = {"owner": step["owner"], "policy": step["policy"], "model_routing": step.get("routing")}
        command = self.kernel.command("CreateSession", session_id, MAIN, body)
        assert isinstance(command, commands.CreateSession)
        wanted = command.create_session
        manifest = SessionManifest(
            session_id=session_id,
            owner=wanted.owner,
            created_at=NOW,
            workspace_root=f"<path>/root/sessions/{session_id}",
            model_routing=wanted.model_routing or ModelRouting(),
            policy=wanted.policy,
        )
        self._files.scaffold(session_id)
        given = inputs.Create(command=command, manifest=manifest, agent_id=self.kernel.mint.uuid())
        return _plain(self.kernel.decide(session_id, given).reply)

    def _create_branch(self, step: Object) -> Json:
        session_id, parent = step["session_id"], step["from_branch"] or MAIN
        session = self.kernel.session(session_id)
        fork = step["fork_sequence"]
        if fork is not None:
            fork = self.kernel.narrator.numbering.ours(session_id, parent, fork)
        body = {"branch": step["branch"], "from_branch": parent, "fork_sequence": fork}
        command = self.kernel.command("CreateBranch", session_id, MAIN, body)
        assert isinstance(command, commands.CreateBranch)
        given = inputs.Fork(command=command)
        given = inputs.Fork(command=command, memory=self.kernel.past(session, given))
        return self.kernel.narrator.branch(session_id, _plain(self.kernel.decide(session_id, given).reply))

    def _merge_branch(self, step: Object) -> Json:
        session_id = step["session_id"]
        self.kernel.session(session_id)
        body = {"branch": step["source"], "into": step["target"]}
        command = self.kernel.command("MergeBranch", session_id, MAIN, body)
        assert isinstance(command, commands.MergeBranch)
        merged = _plain(self.kernel.decide(session_id, command).reply)
        for side in ("source", "target"):
            head = f"{side}_head_sequence"
            merged[head] = self.kernel.narrator.numbering.told(session_id, step[side], merged[head])
        return merged

    def _list_branches(self, step: Object) -> Json:
        session = self.kernel.session(step["session_id"])
        infos = (session.branches[name].info() for name in sorted(session.branches))
        return [self.kernel.narrator.branch(session.session_id, _plain(info)) for info in infos]

    def _record_external_event(self, step: Object) -> None:
        session_id, branch = step["session_id"], step["branch"] or MAIN
        self.kernel.session(session_id)
        for _ in range(step.get("repeat") or 1):
            command = self.kernel.command("RecordEvent", session_id, branch, {"event": step["kind"]})
            assert isinstance(command, commands.RecordEvent)
            self.kernel.decide(session_id, command)

    # Ticks ------------------------------------------------------------------------------------------------

    def _tick(self, step: Object) -> Json:
        self._script.add(step["session_id"], step["branch"] or MAIN, step)
        return alone(self._one(step))

    def _concurrent(self, step: Object) -> Json:
        for tick in step["ticks"]:
            self._script.add(tick["session_id"], tick["branch"] or MAIN, tick)
        return run([self._caught(tick) for tick in step["ticks"]])

    def _caught(self, step: Object) -> Timed[Json]:
        try:
            return {"ok": (yield from self._one(step))}
        except VagusError as error:
            return {"error": error.message}

    def _one(self, step: Object) -> Timed[Json]:
        key = (session_id, branch) = step["session_id"], step["branch"] or MAIN
        yield step.get("start_delay_ms") or 0
        while key in self._busy:
            yield None
        self._busy.add(key)
        try:
            session = self.kernel.session(session_id)
            body = {
                name: step.get(name)
                for name in ("objective", "proposed_tool", "system_prompt", "allowed_tools")
            }
            command = self.kernel.command("Tick", session_id, branch, body)
            assert isinstance(command, commands.Tick)
            given = self._middlewares.around(
                session, command, step.get("patch") or {}, self.kernel.context.config
            )
            self.kernel.decide(session_id, given)
            yield from self._drive(session_id, branch)
        finally:
            self._busy.discard(key)
        return self._told_output(command)

    def _told_output(self, command: commands.Tick) -> Json:
        events = [r for r in self.kernel.narrator.records if r.correlation_id == command.command_id]
        output = tick_output(events)
        assert output is not None, "the tick has not ended"
        told = self.kernel.narrator.numbering.told(output.session_id, output.branch_id, output.last_sequence)
        return {
            "session_id": output.session_id,
            "mode": output.mode.value,
            "state": _plain(output.state),
            "events_emitted": output.events_emitted,
            "last_sequence": told,
        }

    def _drive(self, session_id: str, branch: str) -> Timed[None]:
        """Do what the branch is owed, until its turn has ended."""
        while (session := self.kernel.sessions[session_id]).branches[branch].turn is not None:
            owed = [e for e in react(session, approval_timeout_s=60) if not isinstance(e, AskApproval)]
            effect = next(e for e in owed if e.branch_id == branch)
            answer: inputs.Input
            match effect:
                case CallModel():
                    self._output.model_requests.append(_request(effect))
                    wait, answer = self._provider.answer(effect, self._script)
                    yield wait
                    if answer.completion is not None:
                        guards = self._middlewares.guards(answer.completion)
                        answer = inputs.ModelAnswer(
                            branch_id=branch,
                            run_id=effect.effect_id,
                            completion=answer.completion,
                            guards=guards,
                        )
                case AskGate():
                    answer = self._verdict(session, effect)
                case RunTool():
                    answer = self._run(session, effect)
            self.kernel.decide(session_id, answer)

    def _verdict(self, session: Session, effect: AskGate) -> inputs.VerdictGiven:
        assert session.policy is not None
        gate = Gate(session.policy, self._workshop, self.kernel.tickets)
        verdict, told = gate.judge(effect.request)
        self._output.policy_decisions.append(told)
        return inputs.VerdictGiven(verdict=verdict, deadline=DEADLINE)

    def _run(self, session: Session, effect: RunTool) -> inputs.ToolReported:
        assert session.manifest is not None
        self._output.tool_requests.append(
            {
                "session_id": session.session_id,
                "workspace_root": session.manifest.workspace_root,
                "call": _plain(effect.call),
            }
        )
        runner = Runner(self._script, self._files, self._workshop, self.trace)
        return inputs.ToolReported(report=runner.run(session.session_id, effect))

    # Tickets ----------------------------------------------------------------------------------------------

    def _list_pending(self, step: Object) -> Json:
        fields = ("approval_id", "session_id", "call_id", "tool_name", "capability", "reason", "created_at")
        return [
            {name: getattr(ticket, name) for name in fields}
            for ticket in self.kernel.tickets.values()
            if ticket.session_id == step["session_id"] and ticket.state is TicketState.PENDING
        ]

    def _resolve_approval(self, step: Object) -> None:
        asked = step.get("approval_id") or list(self.kernel.tickets)[step["approval_index"]]
        ticket = self.kernel.tickets.get(asked)
        if (
            ticket is None
            or ticket.session_id != step["session_id"]
            or ticket.state is not TicketState.PENDING
        ):
            raise ApprovalNotPending(f"approval not pending: {asked}")
        decision = ApprovalDecision.APPROVED if step["approved"] else ApprovalDecision.DENIED
        self.kernel.close_ticket(asked, TicketState(decision.value))
        resolution = Resolution(approval_id=asked, decision=decision, actor=step["actor"])
        self.kernel.decide(ticket.session_id, inputs.ApprovalResolved(resolution=resolution))
        alone(self._drive(ticket.session_id, ticket.branch_id))

    # Looking ----------------------------------------------------------------------------------------------

    def _read_events(self, step: Object) -> Json:
        told = self.account.events.get(step["session_id"], {}).get(step["branch"] or MAIN, [])
        first, limit = max(step["from_sequence"], 1), step["limit"]
        events = list(enumerate((event.kind for event in told), 1))[first - 1 : first - 1 + limit]
        if step.get("full"):
            return [{"sequence": sequence, "kind": kind} for sequence, kind in events]
        return [[sequence, kind["type"]] for sequence, kind in events]

    def _store_head(self, step: Object) -> int:
        return len(self.account.events[step["session_id"]][step["branch"]])

    def _session_exists(self, step: Object) -> bool:
        return step["session_id"] in self.kernel.sessions

    def _list_sessions(self, step: Object) -> list[str]:
        return sorted(self.kernel.sessions)

    def _policy_evaluate(self, step: Object) -> Json:
        held = self.kernel.session(step["session_id"]).policy
        assert held is not None
        return _plain(policy.evaluate(held, step["capabilities"]))


def _plain(value: object) -> Any:
    return msgspec.json.decode(msgspec.json.encode(value))


def _request(effect: CallModel) -> Json:
    told = _plain(effect.request)
    told.pop("call_index", None)
    return told
