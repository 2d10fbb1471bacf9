"""Every input in every stage: what the core does of it.

A column is where branch `main` is, a row what it is told. In the grid stands where it is afterwards, `=` when
it stays where it was, `.` when nothing is written, or the error of a refusal. Answers are those to what is
owed in that stage; where nothing of their kind is owed they are late ones.
"""

from collections.abc import Callable
from typing import get_args

import pytest

from tests.kit.core import DEADLINE, NOW, POLICY, Core, call, completion
from vagus.contract.approvals import ApprovalDecision, Resolution
from vagus.contract.extensions import Memory
from vagus.contract.messages import Report, ReportType, Verdict
from vagus.contract.sessions import BudgetExtension
from vagus.contract.tools import Success, ToolExecutionReport
from vagus_kernel import inputs
from vagus_kernel.decide import Rejected, decide
from vagus_kernel.effects import AskGate, CallModel, RunTool
from vagus_kernel.inputs import Input
from vagus_kernel.state import Gating, Running, Stage, Thinking

GRID = """
                 idle     thinking gating  running started halting waiting half    resumed again   closed
StartTick        thinking Busy     Busy    Busy    Busy    Busy    =       =       Busy    Busy    ReadOnly
ModelAnswer      .        idle     .       .       .       .       .       .       .       .       .
VerdictGiven     .        .        running .       .       .       .       .       again   .       .
ToolReported     .        .        .       idle    idle    idle    .       .       .       idle    .
DeadlinePassed   .        .        .       idle    idle    idle    .       .       .       idle    .
ToolNeverRan     .        .        .       idle    idle    idle    .       .       .       idle    .
ApprovalResolved .        .        .       .       .       .       resumed resumed .       .       .
CancelTurn       .        idle     idle    halting halting .       idle    idle    idle    halting .
GiveUp           .        idle     idle    idle    idle    idle    .       .       idle    idle    .
Create           .        .        .       .       .       .       .       .       .       .       .
Fork             =        =        =       =       =       =       =       =       =       =       ReadOnly
RestoreTo        =        Refused  Refused Refused Refused Refused Refused Refused Refused Refused ReadOnly
Mark             =        Refused  Refused Refused Refused Refused Refused Refused Refused Refused .
Resumed          =        =        =       =       =       =       =       =       =       =       =
MergeBranch      =        =        =       =       =       =       =       =       =       =       ReadOnly
RecordEvent      =        =        =       =       =       =       =       =       =       =       ReadOnly
SetPolicy        =        =        =       =       =       =       =       =       =       =       ReadOnly
ExtendBudget     =        =        =       =       =       =       =       =       =       =       ReadOnly
Close            closed   Refused  Refused Refused Refused Refused Refused Refused Refused Refused .
"""


def idle() -> Core:
    core = Core()
    core.fork("side")
    return core


def thinking() -> Core:
    core = idle()
    core.start()
    return core


def gating() -> Core:
    core = idle()
    core.start(tool=call("c1"))
    return core


def running() -> Core:
    core = gating()
    core.allow()
    return core


def started() -> Core:
    core = running()
    core.tell(_report(core, ReportType.STARTED))
    return core


def halting() -> Core:
    core = running()
    core.tell(inputs.CancelTurn(branch_id="main"))
    return core


def waiting() -> Core:
    core = gating()
    core.gate()
    return core


def half() -> Core:
    """One of two tickets is approved."""
    core = gating()
    core.gate("pay", "send")
    core.resolve()
    return core


def resumed() -> Core:
    core = waiting()
    core.resolve()
    return core


def again() -> Core:
    core = resumed()
    core.allow()
    return core


def closed() -> Core:
    core = idle()
    core.tell(core.command("Close", {"reason": "done"}))
    return core


STAGES: dict[str, Callable[[], Core]] = {
    make.__name__: make
    for make in (
        idle,
        thinking,
        gating,
        running,
        started,
        halting,
        waiting,
        half,
        resumed,
        again,
        closed,
    )
}


def _effect(core: Core, kind: type[CallModel | AskGate | RunTool]) -> str:
    return next((e.effect_id for e in core.effects() if isinstance(e, kind)), "late")


def _run(core: Core) -> str:
    return next((e.tool_run_id for e in core.effects() if isinstance(e, RunTool)), "late")


def _report(core: Core, kind: ReportType) -> inputs.ToolReported:
    run = _run(core)
    report = ToolExecutionReport(
        tool_run_id=run, call_id="c1", tool_name="t", exit_status=0, duration_ms=1, outcome=Success()
    )
    ended = report if kind is ReportType.REPORT else None
    return inputs.ToolReported(
        report=Report(effect_id=_effect(core, RunTool), type=kind, tool_run_id=run, report=ended)
    )


INPUTS: dict[str, Callable[[Core], Input]] = {
    "StartTick": lambda core: inputs.StartTick(command=core.command("Tick", {"objective": "next"})),
    "ModelAnswer": lambda core: inputs.ModelAnswer(
        branch_id="main", run_id=_effect(core, CallModel), completion=completion("hello")
    ),
    "VerdictGiven": lambda core: inputs.VerdictGiven(
        verdict=Verdict(effect_id=_effect(core, AskGate), tool_run_id="r", grant="signed"), deadline=DEADLINE
    ),
    "ToolReported": lambda core: _report(core, ReportType.REPORT),
    "DeadlinePassed": lambda core: inputs.DeadlinePassed(branch_id="main", tool_run_id=_run(core)),
    "ToolNeverRan": lambda core: inputs.ToolNeverRan(branch_id="main", tool_run_id=_run(core)),
    "ApprovalResolved": lambda core: inputs.ApprovalResolved(
        resolution=Resolution(
            approval_id=(core.tickets() or ["late"])[0], decision=ApprovalDecision.APPROVED, actor="me"
        )
    ),
    "CancelTurn": lambda core: inputs.CancelTurn(branch_id="main", tickets=True),
    "GiveUp": lambda core: inputs.GiveUp(branch_id="main", reason="given up"),
    "Create": lambda core: core.create,
    "Fork": lambda core: inputs.Fork(command=core.command("CreateBranch", {"branch": "b"})),
    "RestoreTo": lambda core: inputs.RestoreTo(
        command=core.command("RestoreCheckpoint", {"checkpoint_id": "x"}), sequence=1, memory=Memory()
    ),
    "Mark": lambda core: inputs.Mark(command_id="archive", copy="c"),
    "Resumed": lambda core: inputs.Resumed(),
    "MergeBranch": lambda core: core.command("MergeBranch", {"branch": "side"}),
    "RecordEvent": lambda core: core.command(
        "RecordEvent", {"event": {"type": "UserMessage", "content": "x"}}
    ),
    "SetPolicy": lambda core: core.command("SetPolicy", {"policy": POLICY}),
    "ExtendBudget": lambda core: core.command("ExtendBudget", BudgetExtension(tokens=1)),
    "Close": lambda core: core.command("Close", {"reason": "done"}),
}


def _where(core: Core) -> str:
    """The stage that the branch is in now."""
    branch = core.branch()
    if core.session.closed:
        return "closed"
    match branch.turn:
        case None:
            partly = any(t.decision is not None for waits in branch.waiting for t in waits.tickets)
            return ("half" if partly else "waiting") if branch.waiting else "idle"
        case turn if turn.cancelling:
            return "halting"
        case turn:
            match turn.stage:
                case Thinking():
                    return "thinking"
                case Gating():
                    return "resumed" if turn.resumed else "gating"
                case Running(started=begun):
                    return "again" if turn.resumed else "started" if begun else "running"
                case other:
                    return f"not at rest: {type(other).__name__}"


def _told(stage: str, given: str) -> str:
    core = STAGES[stage]()
    assert _where(core) == stage
    what = INPUTS[given](core)
    outcome = core.outcome(what)
    if isinstance(outcome, Rejected):
        return outcome.error.type.removeprefix("Branch")
    if not outcome.records:
        return "."
    core.tell(what)
    return "=" if _where(core) == stage else _where(core)


def _grid() -> dict[tuple[str, str], str]:
    head, *rows = [line.split() for line in GRID.strip().splitlines()]
    return {(row[0], stage): cell for row in rows for stage, cell in zip(head, row[1:], strict=True)}


@pytest.mark.parametrize("given", INPUTS)
@pytest.mark.parametrize("stage", STAGES)
def test_the_grid_says_what_becomes_of_the_input(stage: str, given: str) -> None:
    assert _told(stage, given) == _grid()[given, stage]


def test_the_grid_holds_every_input_and_every_stage() -> None:
    named = {kind.__name__ for kind in get_args(Input)}
    assert named == set(INPUTS)
    assert set(_grid()) == {(given, stage) for given in INPUTS for stage in STAGES}


def test_every_stage_that_is_at_rest_is_in_the_grid() -> None:
    at_rest = {Thinking, Gating, Running}
    met = {type(turn.stage) for make in STAGES.values() if (turn := make().branch().turn) is not None}
    assert met == at_rest < set(get_args(Stage))


@pytest.mark.parametrize("given", [name for name in INPUTS if name != "Create"])
def test_without_a_session_everything_else_is_refused(given: str) -> None:
    core = Core()
    outcome = decide(None, INPUTS[given](core), inputs.Context(config=core.config, now=NOW, seed=b""))
    assert isinstance(outcome, Rejected)
    assert outcome.error.type == "SessionNotFound"
