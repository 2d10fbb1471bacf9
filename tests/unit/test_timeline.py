import io

import pytest
from rich.console import Console

from tests.kit.events import records
from vagus.cli.render import console as consoles
from vagus.cli.render.timeline import Coloured, Live, Plain, Timeline
from vagus.contract.approvals import ApprovalDecision
from vagus.contract.events import (
    ApprovalRequested,
    ApprovalResolved,
    DeliberationProposed,
    EventKind,
    Message,
    PhaseEntered,
    StateEstimated,
    ToolCallRequested,
)
from vagus.contract.state import AgentStateVector, LoopPhase, OperatingMode, RiskLevel

LONG = "word " * 40


@pytest.fixture
def screen(monkeypatch: pytest.MonkeyPatch) -> io.StringIO:
    """A terminal of 60 columns."""
    shown = io.StringIO()
    made = Console(file=shown, force_terminal=True, color_system=None, width=60, highlight=False)
    monkeypatch.setattr(consoles, "console", lambda: made)
    return shown


def add(timeline: Timeline, *kinds: EventKind, branch: str = "main") -> None:
    for record in records(*kinds, branch=branch):
        timeline.add(record, b"{}")


def asked() -> ApprovalRequested:
    return ApprovalRequested(
        approval_id="a", call_id="c", tool_name="fs.write", arguments={}, risk=RiskLevel.LOW, capability="x"
    )


def test_an_event_is_one_line_with_time_branch_and_sequence(screen: io.StringIO) -> None:
    add(Coloured(), PhaseEntered(phase=LoopPhase.GATE))
    assert screen.getvalue().split() == ["12:26:01.123", "main", "1", "·", "gate"]


def test_words_are_wrapped_and_arguments_are_cut(screen: io.StringIO) -> None:
    add(
        Coloured(),
        Message(role="assistant", content=LONG),
        ToolCallRequested(call_id="c", tool_name="t", arguments={"a": LONG}),
    )
    lines = screen.getvalue().splitlines()
    assert all(len(line) <= 60 for line in lines)
    assert sum(line.count("word") for line in lines[:-1]) == 40
    assert lines[-1].rstrip().endswith("…")


def test_in_brief_nobody_waits_for_phases(screen: io.StringIO) -> None:
    add(Coloured(brief=True), PhaseEntered(phase=LoopPhase.GATE), DeliberationProposed(summary="do it"))
    assert screen.getvalue().splitlines()[0].split()[-2:] == ["do", "it"]


def test_plain_lines_carry_the_whole_time_and_the_kind(capfdbinary: pytest.CaptureFixture[bytes]) -> None:
    add(Plain(), DeliberationProposed(summary="do\x1bit"))
    line = capfdbinary.readouterr().out.decode()
    assert line == "2026-04-05T12:26:01.123456789Z main 1 DeliberationProposed tick do·it\n"


def test_the_live_line_tells_how_things_stand(screen: io.StringIO) -> None:
    live = Live("s1")
    with live.screen:
        add(live, StateEstimated(state=AgentStateVector(progress=0.5), mode=OperatingMode.VERIFY), asked())
        waiting = screen.getvalue()
        add(live, ApprovalResolved(approval_id="a", decision=ApprovalDecision.DENIED), branch="b")
    after = screen.getvalue().removeprefix(waiting)
    assert "2 events" in waiting
    assert "main: verify" in waiting
    assert "fs.write needs approval" in waiting
    assert "3 events" in after
    assert "1 waiting" not in after
