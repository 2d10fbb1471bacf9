"""The pure core by hand: a session that is told inputs one by one, and what it made of them."""

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
from msgspec.structs import replace

from tests.kit.events import types
from vagus.contract import commands
from vagus.contract.approvals import ApprovalDecision, Resolution
from vagus.contract.codec import decode_commit, seal
from vagus.contract.commands import decode_command
from vagus.contract.events import EventRecord, ModeChanged, StateEstimated, is_extension
from vagus.contract.extensions import GuardDecision
from vagus.contract.ids import MAIN, Mint
from vagus.contract.json import Json
from vagus.contract.messages import Report, ReportType, Verdict
from vagus.contract.models import ModelCompletion, ModelRouting
from vagus.contract.policy import PolicySet
from vagus.contract.sessions import SessionManifest
from vagus.contract.state import AgentStateVector, BudgetState
from vagus.contract.tools import Failure, FileMutation, Success, ToolCall, ToolDefinition, ToolExecutionReport
from vagus_kernel import inputs
from vagus_kernel.decide import Decision, Outcome, Rejected, decide
from vagus_kernel.effects import AskApproval, AskGate, CallModel, Owed, RunTool
from vagus_kernel.evolve import evolve
from vagus_kernel.inputs import Input
from vagus_kernel.react import react
from vagus_kernel.state import Branch, Config, Session

NOW = "2026-04-05T12:00:00Z"
DEADLINE = "2026-04-05T12:00:30Z"
POLICY = PolicySet(
    allow_capabilities=("run",), gate_capabilities=("pay",), max_tool_runtime_secs=30, max_events_per_turn=256
)


def call(
    call_id: str, tool: str = "t", capabilities: Sequence[str] = ("run",), given: Json = None
) -> ToolCall:
    """A call; its input says its id, so that no two are alike."""
    shown = {"id": call_id} if given is None else given
    return ToolCall(call_id=call_id, tool_name=tool, input=shown, requested_capabilities=tuple(capabilities))


def completion(*directives: str | ToolCall, **fields: Any) -> ModelCompletion:
    """A model's answer: texts are deltas."""
    told = [
        {"type": "text_delta", "delta": said}
        if isinstance(said, str)
        else {"type": "tool_call", "call": said}
        for said in directives
    ]
    return msgspec.convert(msgspec.to_builtins({"directives": told, **fields}), ModelCompletion)


class Core:
    """One session. What is decided is committed, and the state is folded from the bytes of the log."""

    def __init__(
        self, policy: PolicySet = POLICY, *, budget: BudgetState | None = None, **config: Any
    ) -> None:
        self.config = Config(**config)
        self.tools: dict[str, ToolDefinition] = {}
        self.state: Session | None = None
        self.records: list[EventRecord] = []
        self._mint = Mint(b"tests")
        body = {"owner": "me", "policy": policy, "budget": budget}
        created = self.command("CreateSession", body)
        assert isinstance(created, commands.CreateSession)
        manifest = SessionManifest(
            session_id="s",
            owner="me",
            created_at=NOW,
            workspace_root="/workspace",
            model_routing=ModelRouting(),
            policy=policy,
        )
        self.create = inputs.Create(command=created, manifest=manifest, agent_id=self._mint.uuid())
        self.tell(self.create)

    # Telling ----------------------------------------------------------------------------------------------

    def command(self, kind: str, body: Json, branch: str = MAIN, command_id: str | None = None) -> Any:
        """A command as it comes over the wire."""
        wire = {
            "type": kind,
            "command_id": command_id or self._mint.uuid(),
            "session_id": "s",
            "branch_id": branch,
            commands.BODY[kind]: body,
        }
        return decode_command(msgspec.json.encode(wire))

    def outcome(self, given: Input) -> Outcome:
        """What is decided on an input now; nothing is committed."""
        context = inputs.Context(
            config=self.config, now=NOW, seed=self._mint.uuid().encode(), tools=self.tools
        )
        return decide(self.state, given, context)

    def tell(self, given: Input) -> Sequence[EventRecord]:
        """Decide and commit; returns the new records, raises the error of a refusal."""
        outcome = self.outcome(given)
        if isinstance(outcome, Rejected):
            raise outcome.error
        if not outcome.records:
            return ()
        new = decode_commit(seal(outcome.records, "").payload)
        for record in new:
            self.state = evolve(self.state, record)
        self.records += new
        assert self.state == outcome.session
        return new

    def reply(self, given: Input) -> Any:
        """Decide and commit; returns the reply."""
        outcome = self.outcome(given)
        self.tell(given)
        assert isinstance(outcome, Decision)
        return outcome.reply

    # Inputs -----------------------------------------------------------------------------------------------

    def start(
        self,
        objective: str = "go",
        tool: ToolCall | None = None,
        *,
        branch: str = MAIN,
        allowed_tools: Sequence[str] | None = None,
        command_id: str | None = None,
        vector: AgentStateVector | None = None,
        guards: Mapping[str, GuardDecision] | None = None,
    ) -> Sequence[EventRecord]:
        """A tick begins."""
        body = {"objective": objective, "proposed_tool": tool, "allowed_tools": allowed_tools}
        command = self.command("Tick", body, branch, command_id)
        return self.tell(inputs.StartTick(command=command, vector=vector, guards=guards or {}))

    def answer(self, *directives: str | ToolCall, branch: str = MAIN, **fields: Any) -> Sequence[EventRecord]:
        """The model answers."""
        said = completion(*directives, **fields)
        return self.tell(
            inputs.ModelAnswer(branch_id=branch, run_id=self.owed(CallModel, branch), completion=said)
        )

    def fail(self, error: str = "boom", branch: str = MAIN) -> Sequence[EventRecord]:
        """The model fails."""
        return self.tell(
            inputs.ModelAnswer(branch_id=branch, run_id=self.owed(CallModel, branch), error=error)
        )

    def verdict(self, branch: str = MAIN, **fields: Any) -> inputs.VerdictGiven:
        """A verdict on the call that is gated."""
        effect = self.owed(AskGate, branch)
        run = self._gated(branch)
        return inputs.VerdictGiven(
            verdict=Verdict(effect_id=effect, tool_run_id=run, **fields), deadline=DEADLINE
        )

    def allow(self, branch: str = MAIN) -> Sequence[EventRecord]:
        return self.tell(self.verdict(branch, grant="signed"))

    def deny(self, *capabilities: str, branch: str = MAIN) -> Sequence[EventRecord]:
        return self.tell(self.verdict(branch, denied=capabilities or ("x",)))

    def gate(self, *capabilities: str, branch: str = MAIN) -> Sequence[EventRecord]:
        """The gate wants a person's word."""
        return self.tell(self.verdict(branch, requires_approval=capabilities or ("pay",)))

    def ended(
        self,
        output: Json = None,
        *,
        branch: str = MAIN,
        error: str | None = None,
        exit_status: int | None = None,
        duration_ms: int = 7,
        mutated: Sequence[FileMutation] = (),
        status: str | None = None,
    ) -> inputs.ToolReported:
        """A report on the tool that runs; with `error`, of a failure."""
        effect = next(e for e in self.effects(branch) if isinstance(e, RunTool))
        failed = error is not None
        report = ToolExecutionReport(
            tool_run_id=effect.tool_run_id,
            call_id=effect.call.call_id,
            tool_name=effect.call.tool_name,
            exit_status=int(failed) if exit_status is None else exit_status,
            duration_ms=duration_ms,
            outcome=Failure(error=error) if error is not None else Success(output=output),
            mutated=tuple(mutated),
            status=status,
        )
        return inputs.ToolReported(
            report=Report(
                effect_id=effect.effect_id,
                type=ReportType.REPORT,
                tool_run_id=effect.tool_run_id,
                tool_name=effect.call.tool_name,
                report=report,
            )
        )

    def run(self, output: Json = None, **fields: Any) -> Sequence[EventRecord]:
        """The tool that runs ends."""
        return self.tell(self.ended(output, **fields))

    def broken(self, error: str = "io error: no space", branch: str = MAIN) -> Sequence[EventRecord]:
        """The harness could not run the tool."""
        effect = next(e for e in self.effects(branch) if isinstance(e, RunTool))
        report = Report(
            effect_id=effect.effect_id,
            type=ReportType.HARNESS_ERROR,
            tool_run_id=effect.tool_run_id,
            error=error,
        )
        return self.tell(inputs.ToolReported(report=report))

    def resolution(
        self, decision: str, index: int = 0, *, actor: str = "me", reason: str = ""
    ) -> inputs.ApprovalResolved:
        """An answer to the index-th ticket that waits."""
        said = Resolution(
            approval_id=self.tickets()[index],
            decision=ApprovalDecision(decision),
            actor=actor,
            reason=reason,
        )
        return inputs.ApprovalResolved(resolution=said)

    def resolve(self, decision: str = "approved", index: int = 0, **fields: Any) -> Sequence[EventRecord]:
        return self.tell(self.resolution(decision, index, **fields))

    def fork(self, name: str, parent: str = MAIN) -> Sequence[EventRecord]:
        body = {"branch": name, "from_branch": parent}
        return self.tell(inputs.Fork(command=self.command("CreateBranch", body)))

    # Whole ticks ------------------------------------------------------------------------------------------

    def say(self, text: str = "hello", objective: str = "go", branch: str = MAIN) -> Sequence[EventRecord]:
        """A tick that the model answers with text."""
        return [*self.start(objective, branch=branch), *self.answer(text, branch=branch)]

    def use(
        self, call_id: str, *, branch: str = MAIN, error: str | None = None, objective: str = "go"
    ) -> list[EventRecord]:
        """A tick with one allowed call, which succeeds unless there is an error."""
        begun = self.start(objective, call(call_id), branch=branch)
        return [*begun, *self.allow(branch), *self.run(branch=branch, error=error)]

    # Looking ----------------------------------------------------------------------------------------------

    @property
    def session(self) -> Session:
        assert self.state is not None
        return self.state

    def branch(self, name: str = MAIN) -> Branch:
        return self.session.branches[name]

    def vector(self, branch: str = MAIN) -> AgentStateVector:
        return self.branch(branch).memory.vector

    def effects(self, branch: str = MAIN) -> list[Owed]:
        owed = react(self.session, approval_timeout_s=3600)
        return [e for e in owed if isinstance(e, AskApproval) or e.branch_id == branch]

    def owed(self, kind: type[CallModel | AskGate | RunTool], branch: str = MAIN) -> str:
        """The id of the effect of this kind."""
        return next(e.effect_id for e in self.effects(branch) if isinstance(e, kind))

    def tickets(self) -> list[str]:
        return [e.effect_id for e in self.effects() if isinstance(e, AskApproval)]

    def _gated(self, branch: str) -> str:
        return next(e.request.tool_run_id for e in self.effects(branch) if isinstance(e, AskGate))


def told(records: Sequence[EventRecord]) -> list[str]:
    """The types of the events that are not ours alone."""
    return types([record for record in records if not is_extension(record.kind)])


def modes(records: Sequence[EventRecord]) -> list[str]:
    """The modes in turn, as they are told: `explore>recover` for a change, `recover` for an estimate."""
    shown = []
    for record in records:
        match record.kind:
            case ModeChanged(from_=before, to=to):
                shown.append(f"{before.value}>{to.value}")
            case StateEstimated(mode=mode):
                shown.append(mode.value)
    return shown


def kinds(records: Sequence[EventRecord], name: str) -> list[Any]:
    """The events of one type."""
    return [record.kind for record in records if record.kind.type == name]


def with_streak(streak: int) -> AgentStateVector:
    """A state with so many errors in a row."""
    return replace(AgentStateVector(), error_streak=streak)


END = ["P:reflect", "BudgetUpdated", "StateEstimated", "CheckpointCreated", "Heartbeat", "P:sleep"]
BEGIN = ["P:perceive", "P:deliberate", "DeliberationProposed", "StateEstimated", "RunStarted", "StepStarted"]
FINISH = ["P:commit", "StepFinished", "RunFinished", *END]
