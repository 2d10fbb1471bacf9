"""Tool calls: what the original recorded late, wrongly or not at all."""

import re
from collections.abc import Sequence
from typing import Any

import pytest

from tests.kit.core import END, FINISH, Core, call, completion, kinds, modes, told
from vagus.contract.events import Custom, EventRecord, ToolCallRequested
from vagus.contract.extensions import GuardDecision
from vagus.contract.ids import PATTERN
from vagus.contract.messages import Report, ReportType
from vagus.contract.outcome import tick_output
from vagus.contract.tools import FileMutation, ToolDefinition
from vagus_kernel import inputs
from vagus_kernel.effects import RunTool

RAN = ["ToolCallStarted", "ToolCallCompleted", "Custom", "ModeChanged", *FINISH]


def running(call_id: str = "c1") -> Core:
    core = Core()
    core.start(tool=call(call_id))
    core.allow()
    return core


def started(core: Core) -> inputs.ToolReported:
    effect = next(e for e in core.effects() if isinstance(e, RunTool))
    return inputs.ToolReported(
        report=Report(effect_id=effect.effect_id, type=ReportType.STARTED, tool_run_id=effect.tool_run_id)
    )


def test_w31_a_slow_tool_is_told_of_when_it_starts_and_once() -> None:
    core = running()
    (record,) = core.tell(started(core))
    assert (record.kind.type, getattr(record.kind, "call_id", None)) == ("ToolCallStarted", "c1")
    assert core.tell(started(core)) == ()
    assert told(core.run())[0] == "ToolCallCompleted"


def test_w31_a_fast_tools_start_stands_before_its_end() -> None:
    ended = running().run()
    assert told(ended) == RAN
    assert kinds(ended, "ToolCallStarted")[0].call_id == "c1"


def test_w32_duration_is_the_reported_one() -> None:
    assert kinds(running().run(duration_ms=1234), "ToolCallCompleted")[0].duration_ms == 1234


@pytest.mark.parametrize("status", ["timeout", "cancelled"])
def test_w33_a_run_that_was_cut_short_says_how(status: str) -> None:
    ended = running().run(error="cut", exit_status=-1, status=status)
    assert kinds(ended, "ToolCallCompleted")[0].status == status


def test_w33_the_category_comes_from_the_definition() -> None:
    core = Core()
    core.tools = {"t": ToolDefinition(name="t", category="fs")}
    assert kinds(core.start(tool=call("c1")), "ToolCallRequested")[0].category == "fs"


def test_w34_a_path_in_the_output_is_no_mutation() -> None:
    assert "FileMutated" not in told(running().run({"path": "a.txt"}))


def test_w34_what_the_runner_saw_changed_is_one() -> None:
    mutated = [FileMutation(path="a.txt", content_hash="00"), FileMutation(path="b", content_hash="deleted")]
    ended = running().run(None, mutated=mutated)
    assert [(m.path, m.content_hash) for m in kinds(ended, "FileMutated")] == [
        ("a.txt", "00"),
        ("b", "deleted"),
    ]


def test_w37_the_kernel_makes_the_id_of_a_run() -> None:
    core = running()
    effect = next(e for e in core.effects() if isinstance(e, RunTool))
    requested = next(record for record in core.records if isinstance(record.kind, ToolCallRequested))
    assert effect.tool_run_id == requested.event_id
    assert re.match(PATTERN, effect.tool_run_id)
    (completed,) = kinds(core.run(), "ToolCallCompleted")
    assert completed.tool_run_id == effect.tool_run_id


def test_w38_a_call_outside_of_allowed_tools_is_refused() -> None:
    core = Core()
    core.start(allowed_tools=["other"])
    ended = core.answer(call("c1", "t"), "on")
    assert told(ended)[:5] == ["P:gate", "ToolCallRequested", "ModeChanged", "ToolCallFailed", "TextDelta"]
    assert kinds(ended, "ToolCallFailed")[0].error == "tool not allowed: t"
    assert core.vector().error_streak == 1


def test_w38_an_empty_list_allows_no_tool() -> None:
    core = Core()
    assert kinds(core.start(tool=call("c1"), allowed_tools=[]), "ToolCallFailed")


@pytest.mark.parametrize(
    ("rule", "text"),
    [("tool_not_found", "tool not found: t"), ("invalid_input", "invalid input: 'x' is a required property")],
)
def test_w39_an_unknown_tool_and_a_bad_input_are_denied_at_the_gate(rule: str, text: str) -> None:
    core = Core()
    core.start(tool=call("c1"))
    ended = core.tell(core.verdict(rule_id=rule, explanation=text))
    assert told(ended) == ["ModeChanged", "ToolCallFailed", *FINISH]
    assert kinds(ended, "ToolCallFailed")[0].error == text
    assert core.vector().error_streak == 1


def test_w39_what_the_client_declared_is_asked_of_the_gate() -> None:
    core = Core()
    core.start(tool=call("c1", capabilities=("run", "pay")))
    assert core.branch().turn is not None
    assert core.effects()[0].request.call.requested_capabilities == ("run", "pay")  # type: ignore[union-attr]


def test_w40_a_call_that_nobody_reports_on_ends_at_its_deadline() -> None:
    core = running()
    run = core.owed(RunTool)
    passed = inputs.DeadlinePassed(branch_id="main", tool_run_id=_run_id(core))
    ended = core.tell(passed)
    assert told(ended) == ["ModeChanged", "ToolCallFailed", *FINISH]
    assert "timed out" in kinds(ended, "ToolCallFailed")[0].error
    assert core.tell(passed) == ()
    assert run


def test_w40_a_call_that_had_started_and_fell_silent_has_an_unknown_outcome() -> None:
    core = running()
    core.tell(started(core))
    ended = core.tell(inputs.DeadlinePassed(branch_id="main", tool_run_id=_run_id(core)))
    assert kinds(ended, "ToolCallFailed")[0].error.startswith("outcome unknown: ")


def test_w40_a_turn_that_thinks_is_cancelled_at_once() -> None:
    core = Core()
    core.start(command_id="tick-1")
    ended = core.tell(inputs.CancelTurn(branch_id="main", command_id="tick-1"))
    assert told(ended) == ["RunErrored", *END]
    output = tick_output([r for r in core.records if r.correlation_id == "tick-1"])
    assert output is not None
    assert output.reason == "cancelled"
    assert core.vector().error_streak == 0


def test_w40_a_turn_whose_tool_runs_is_cancelled_when_that_has_stopped() -> None:
    core = running()
    core.tell(inputs.CancelTurn(branch_id="main"))
    (effect,) = (e for e in core.effects() if isinstance(e, RunTool))
    assert effect.cancelling
    ended = core.run(error="cancelled", exit_status=-1, status="cancelled")
    assert told(ended)[-len(END) - 1 :] == ["RunErrored", *END]
    assert kinds(ended, "ToolCallCompleted")[0].status == "cancelled"


def test_w40_a_cancelled_call_that_never_ran_ends_as_failed() -> None:
    core = running()
    core.tell(inputs.CancelTurn(branch_id="main"))
    ended = core.tell(inputs.ToolNeverRan(branch_id="main", tool_run_id=_run_id(core)))
    assert told(ended) == ["ToolCallFailed", "RunErrored", *END]
    assert kinds(ended, "ToolCallFailed")[0].error == "cancelled"
    assert core.vector().error_streak == 0


@pytest.mark.parametrize("stage", ["thinking", "gating", "running"])
def test_w41_a_turn_that_cannot_go_on_is_finalised(stage: str) -> None:
    core = Core()
    core.start()
    if stage != "thinking":
        core.answer(call("c1"), call("c2"))
    if stage == "running":
        core.allow()
    ended = core.tell(inputs.GiveUp(branch_id="main", reason="given up"))
    failed = [] if stage == "thinking" else ["ToolCallFailed"]
    assert told(ended) == ["ModeChanged", *failed, "RunErrored", *END]
    assert core.branch().turn is None
    assert told(core.say())[-1] == "P:sleep"


def test_w41_a_guard_that_breaks_ends_the_turn_in_order() -> None:
    core = Core()
    core.start()
    guards = {"c1": GuardDecision(decision="error", message="guard broke")}
    answer = inputs.ModelAnswer(
        branch_id="main",
        run_id=core.branch().turn.run_id,  # type: ignore[union-attr]
        completion=completion("before", call("c1"), "never"),
        guards=guards,
    )
    ended = core.tell(answer)
    assert told(ended) == ["TextDelta", "ModeChanged", "RunErrored", *END]
    assert modes(ended)[0] == "explore>recover"


def test_w43_a_call_id_that_was_used_before_is_refused() -> None:
    core = Core()
    core.use("c1")
    core.start()
    ended = core.answer(call("c1", given={"other": 1}), "on")
    assert told(ended) == ["TextDelta", *FINISH]
    refused = _refusals(ended)
    assert [data["call_id"] for data in refused] == ["c1"]
    output = tick_output([r for r in core.records if r.correlation_id == ended[-1].correlation_id])
    assert output is not None
    assert output.reason == "tool_calls"


def test_w43_a_call_id_repeated_within_a_completion_is_refused() -> None:
    core = Core()
    core.start()
    core.answer(call("c1"), call("c1"), call("c2"))
    core.allow()
    again = core.run()
    assert len(_refusals(again)) == 1
    assert kinds(again, "ToolCallRequested")[0].call_id == "c2"


def test_w43_the_call_id_of_a_call_that_waits_for_a_person_is_refused() -> None:
    core = Core()
    core.start()
    core.answer(call("c1"), call("c1"))
    assert len(_refusals(core.gate())) == 1


def test_w43_an_id_may_be_used_again_after_a_thousand_others() -> None:
    core = Core(loop_detection=False, enforce_budget=False)
    core.start()
    core.answer(*(call(f"c{number}") for number in range(1001)))
    for _ in range(1001):
        core.deny()
    core.start()
    ended = core.answer(call("c1000"), call("c0"))
    assert len(_refusals(ended)) == 1
    assert kinds(ended, "ToolCallRequested")[0].call_id == "c0"


def test_w44_the_observation_is_told_as_in_the_original() -> None:
    (observed,) = (k for k in kinds(running().run(), "Custom") if k.event_type == "ObservationExtracted")
    assert list(observed.data) == ["observation_id"]


def _run_id(core: Core) -> str:
    return next(e.tool_run_id for e in core.effects() if isinstance(e, RunTool))


def _refusals(records: Sequence[EventRecord]) -> list[Any]:
    return [
        record.kind.data
        for record in records
        if isinstance(record.kind, Custom) and record.kind.event_type == "vagus.call_refused"
    ]
