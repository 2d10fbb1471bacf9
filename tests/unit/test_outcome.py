import pytest

from tests.kit.events import records
from vagus.contract.approvals import ApprovalDecision
from vagus.contract.events import (
    ApprovalRequested,
    ApprovalResolved,
    BudgetUpdated,
    Custom,
    DeliberationProposed,
    ErrorRaised,
    EventKind,
    Heartbeat,
    Message,
    PhaseEntered,
    PolicyEvaluated,
    RunErrored,
    RunFinished,
    RunStarted,
    StateEstimated,
    StepFinished,
    StepStarted,
    TextDelta,
    ToolCallCompleted,
    ToolCallFailed,
    ToolCallRequested,
    ToolCallStarted,
)
from vagus.contract.outcome import tick_output
from vagus.contract.policy import PolicyDecisionKind, SpanStatus
from vagus.contract.sessions import PendingApproval, TickOutput, ToolResult
from vagus.contract.state import AgentStateVector, BudgetState, LoopPhase, OperatingMode, RiskLevel
from vagus.contract.tools import Failure, Success

AFTER = AgentStateVector(progress=0.12)


def phase(name: str) -> PhaseEntered:
    return PhaseEntered(phase=LoopPhase(name))


def estimated(mode: str, state: AgentStateVector | None = None) -> StateEstimated:
    return StateEstimated(state=state or AgentStateVector(), mode=OperatingMode(mode))


def opened(mode: str = "execute") -> list[EventKind]:
    proposed = DeliberationProposed(summary="go")
    return [phase("perceive"), phase("deliberate"), proposed, estimated(mode)]


def ended(mode: str = "execute") -> list[EventKind]:
    accounts = BudgetUpdated(budget=BudgetState(), reason="tick accounting")
    return [
        phase("reflect"),
        accounts,
        estimated(mode, AFTER),
        Heartbeat(summary="tick complete"),
        phase("sleep"),
    ]


def begun() -> list[EventKind]:
    return [RunStarted(provider="canonical", max_iterations=1), StepStarted(index=0)]


def finished(reason: str = "completed", answer: str | None = None) -> list[EventKind]:
    return [
        phase("commit"),
        StepFinished(index=0, stop_reason=reason, directive_count=1),
        RunFinished(reason=reason, total_iterations=1, final_answer=answer),
    ]


def asked(call_id: str = "c", tool_name: str = "t") -> list[EventKind]:
    return [phase("gate"), ToolCallRequested(call_id=call_id, tool_name=tool_name, arguments={})]


def ran(
    call_id: str | None = "c", status: SpanStatus = SpanStatus.OK, result: object = None
) -> list[EventKind]:
    return [
        phase("execute"),
        ToolCallStarted(tool_run_id="r", tool_name="t"),
        ToolCallCompleted(
            tool_run_id="r", call_id=call_id, tool_name="t", result=result, duration_ms=1, status=status
        ),
    ]


def ticket(approval_id: str, call_id: str = "c", capability: str | None = "fs:write:/session/a") -> EventKind:
    return ApprovalRequested(
        approval_id=approval_id,
        call_id=call_id,
        tool_name="t",
        arguments={},
        risk=RiskLevel.MEDIUM,
        capability=capability,
    )


def outcome(*kinds: EventKind) -> TickOutput:
    output = tick_output(records(*kinds))
    assert output is not None
    return output


def turn(*kinds: EventKind) -> TickOutput:
    return outcome(*opened(), *begun(), *kinds, *finished(), *ended())


def test_a_text_tick_is_told_whole():
    kinds = [*opened(), *begun(), Message(role="assistant", content="hi"), *finished(), *ended("verify")]
    assert tick_output(records(*kinds, first=10, session="s-1", branch="b")) == TickOutput(
        session_id="s-1",
        branch_id="b",
        mode=OperatingMode.VERIFY,
        state=AFTER,
        events_emitted=len(kinds),
        last_sequence=9 + len(kinds),
        run_id="",
        text="hi",
        tool_results=(),
        pending_approvals=(),
        reason="completed",
    )


@pytest.mark.parametrize("missing", range(1, 15))
def test_a_tick_that_has_not_ended_has_no_outcome(missing: int):
    kinds = [*opened(), *begun(), Message(role="assistant", content="hi"), *finished(), *ended()]
    assert tick_output(records(*kinds)[:-missing]) is None


def test_a_sleep_without_a_tick_before_it_ends_none():
    assert tick_output(records(Heartbeat(summary="s"), phase("sleep"))) is None
    assert tick_output(records(phase("perceive"), phase("sleep"))) is None
    assert tick_output([]) is None


def test_what_a_call_resumed_later_does_is_not_part_of_the_tick():
    waiting = [*opened(), *begun(), *asked(), ticket("a"), *finished("tool_call"), *ended("ask_human")]
    approved = ApprovalResolved(approval_id="a", decision=ApprovalDecision.APPROVED)
    resumed = [approved, *ran(), *ended()]
    assert outcome(*waiting, *resumed) == outcome(*waiting)
    assert outcome(*waiting).reason == "awaiting_approval"


def test_extension_events_are_not_counted_but_sequenced():
    policy = PolicyEvaluated(tool_name="t", decision=PolicyDecisionKind.ALLOW)
    begin = Custom(event_type="vagus.turn_started", data={"run_id": "run-1"})
    kinds = [begin, *opened(), *begun(), *asked(), policy, *ran(), *finished(), *ended()]
    output = outcome(*kinds)
    assert output.events_emitted == len(kinds) - 2
    assert output.last_sequence == len(kinds)
    assert output.run_id == "run-1"


@pytest.mark.parametrize(
    ("mode", "reason"), [("sleep", "asleep"), ("ask_human", "awaiting_approval"), ("execute", "completed")]
)
def test_a_tick_that_ends_before_its_run_says_why(mode: str, reason: str):
    assert outcome(*opened(mode), *ended(mode)).reason == reason


def test_a_spent_budget_is_told_with_its_field():
    output = outcome(
        *opened("sleep"), ErrorRaised(message="budget exceeded: tokens_remaining"), *ended("sleep")
    )
    assert (output.reason, output.error) == ("budget_exceeded", "budget exceeded: tokens_remaining")


def test_a_failed_provider_is_an_error():
    output = outcome(*opened(), *begun(), RunErrored(error="runtime error: no model"), *ended("recover"))
    assert (output.reason, output.error) == ("error", "runtime error: no model")


def test_a_cancelled_tick_is_cancelled_whatever_it_waited_for():
    output = outcome(*opened(), *begun(), *asked(), ticket("a"), RunErrored(error="cancelled"), *ended())
    assert (output.reason, output.error) == ("cancelled", None)


@pytest.mark.parametrize(
    ("stop", "reason"),
    [
        ("completed", "completed"),
        ("error", "error"),
        ("cancelled", "cancelled"),
        ("max_iterations", "completed"),
        ("tool_call", "completed"),
        ("content_filter", "completed"),
    ],
)
def test_a_stop_reason_becomes_a_reason(stop: str, reason: str):
    assert outcome(*opened(), *begun(), *finished(stop), *ended()).reason == reason


@pytest.mark.parametrize(
    "kind",
    [
        ToolCallRequested(call_id="c", tool_name="t", arguments={}),
        Custom(event_type="loop_detection.hard_stop", data={}),
        Custom(event_type="spending.hard_stop", data={}),
        Custom(event_type="vagus.call_refused", data={}),
    ],
)
def test_a_tick_that_asked_for_a_tool_goes_on(kind: EventKind):
    assert turn(kind).reason == "tool_calls"


def test_a_warning_alone_is_no_call():
    assert turn(Custom(event_type="loop_detection.warning", data={})).reason == "completed"


def test_open_tickets_are_pending_in_the_order_asked():
    resolved = ApprovalResolved(approval_id="b", decision=ApprovalDecision.DENIED)
    output = turn(*asked(), ticket("a"), ticket("b"), ticket("c", capability=None), resolved)
    assert output.reason == "awaiting_approval"
    assert output.pending_approvals == (
        PendingApproval(approval_id="a", call_id="c", tool_name="t", capability="fs:write:/session/a"),
        PendingApproval(approval_id="c", call_id="c", tool_name="t", capability=""),
    )


def test_a_tick_whose_tickets_are_all_resolved_waits_for_nobody():
    resolved = ApprovalResolved(approval_id="a", decision=ApprovalDecision.APPROVED)
    assert turn(*asked(), ticket("a"), resolved).reason == "tool_calls"


def test_text_is_deltas_and_messages_of_the_assistant_in_order():
    output = turn(
        TextDelta(delta="he"),
        TextDelta(delta="llo"),
        Message(role="system", content="warning"),
        Message(role="assistant", content=" world"),
    )
    assert output.text == "hello world"


def test_the_final_answer_stands_in_for_text_that_is_missing():
    final = finished(answer="42")
    assert outcome(*opened(), *begun(), *final, *ended()).text == "42"
    assert outcome(*opened(), *begun(), TextDelta(delta="43"), *final, *ended()).text == "43"
    assert turn().text == ""


def test_tool_results_stand_in_the_order_of_the_requests():
    output = turn(
        *asked("one"),
        *asked("two"),
        *asked("three"),
        *asked("four"),
        ticket("a", "four"),
        ToolCallFailed(call_id="two", tool_name="t", error="capabilities denied: x"),
        *ran("three", SpanStatus.TIMEOUT, {"status": "failure", "error": "timed out after 1 s"}),
        *ran("one", SpanStatus.OK, {"status": "success", "output": {"n": 1}}),
    )
    assert output.tool_results == (
        ToolResult(call_id="one", tool_name="t", status="ok", outcome=Success(output={"n": 1})),
        ToolResult(call_id="two", tool_name="t", status="failed", error="capabilities denied: x"),
        ToolResult(
            call_id="three", tool_name="t", status="timeout", outcome=Failure(error="timed out after 1 s")
        ),
        ToolResult(call_id="four", tool_name="t", status="pending"),
    )


def test_a_call_id_used_twice_has_two_results():
    failed = ToolCallFailed(call_id="c", tool_name="t", error="e")
    output = turn(*asked("c"), failed, *asked("c"), *ran("c", result={"status": "success", "output": 1}))
    assert [result.status for result in output.tool_results] == ["failed", "ok"]


def test_a_result_that_is_no_outcome_is_left_out():
    (result,) = turn(*asked("c"), *ran("c", result=[1, 2])).tool_results
    assert (result.status, result.outcome) == ("ok", None)


def test_an_end_without_a_request_is_no_result():
    assert turn(*ran("elsewhere"), *ran(None)).tool_results == ()
