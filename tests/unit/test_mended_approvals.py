"""Approvals that led nowhere in the original: here they resume the call, or end it."""

import pytest

from tests.kit.core import BEGIN, END, FINISH, Core, call, kinds, modes, told
from vagus.contract.errors import Busy
from vagus.contract.events import is_extension
from vagus.contract.outcome import tick_output
from vagus.contract.policy import PolicySet
from vagus.contract.tools import ToolAnnotations, ToolDefinition
from vagus_kernel import inputs
from vagus_kernel.decide import Rejected
from vagus_kernel.effects import AskApproval, AskGate, RunTool
from vagus_kernel.react import react

RAN = ["P:execute", "ToolCallStarted", "ToolCallCompleted", "Custom"]


def asked(*capabilities: str) -> Core:
    """A session with one call that waits for people."""
    core = Core()
    core.start("pay it", call("c1", "pay"), command_id="tick-1")
    core.gate(*(capabilities or ("pay",)))
    return core


def test_w21_an_approved_call_is_resumed_by_the_kernel() -> None:
    core = asked()
    resumed = [*core.resolve(), *core.allow(), *core.run({"paid": True})]
    assert told(resumed) == ["ApprovalResolved", *RAN, "ModeChanged", *END]
    assert modes(resumed)[0] == "ask_human>execute"
    assert core.session.tick_count == 2
    assert core.branch().waiting == ()


def test_w21_the_gate_is_asked_again_and_told_of_the_tickets() -> None:
    core = asked("pay", "send")
    approved = core.tickets()
    core.resolve(index=0)
    assert not [e for e in core.effects() if isinstance(e, AskGate)]
    core.resolve(index=0)
    (gate,) = (e for e in core.effects() if isinstance(e, AskGate))
    assert gate.request.tickets == tuple(approved)
    assert gate.request.call == call("c1", "pay")


def test_w21_nothing_runs_until_the_gate_has_signed() -> None:
    core = asked()
    core.resolve()
    assert not [e for e in core.effects() if isinstance(e, RunTool)]
    denied = core.deny("pay")
    assert told(denied) == ["ModeChanged", "ToolCallFailed", *END]
    assert kinds(denied, "ToolCallFailed")[0].error == "capabilities denied: pay"


def test_w21_a_denied_call_ends_as_failed_and_is_no_error_of_the_agent() -> None:
    core = asked()
    before = core.vector()
    ended = core.resolve("denied", actor="bob", reason="too much")
    assert told(ended) == ["ApprovalResolved", "ModeChanged", "ToolCallFailed", *END]
    assert kinds(ended, "ToolCallFailed")[0].error == "approval denied by bob: too much"
    assert modes(ended)[0] == "ask_human>explore"
    assert core.vector() == before
    assert core.branch().waiting == ()


def test_w21_one_denial_ends_a_call_of_several_tickets_and_withdraws_the_rest() -> None:
    core = asked("pay", "send")
    _, other = core.tickets()
    given = core.resolution("denied")
    outcome = core.outcome(given)
    core.tell(given)
    assert not isinstance(outcome, Rejected)
    assert [effect.ticket.approval_id for effect in outcome.withdraw] == [other]
    assert core.tickets() == []


def test_w21_the_model_may_ask_again_for_a_call_that_was_approved_once() -> None:
    core = asked()
    core.resolve()
    core.allow()
    core.run()
    core.start(tool=call("c2", "pay"))
    assert told(core.gate())[-len(FINISH) - 1] == "ApprovalRequested"


def test_w21_other_directives_of_the_completion_go_on_while_the_call_waits() -> None:
    core = Core()
    core.start()
    core.answer(call("c1", "pay"), call("c2"), "done")
    core.gate()
    core.allow()
    assert told(core.run())[-len(FINISH) - 1] == "TextDelta"
    assert core.branch().mode == "ask_human"
    core.resolve()
    core.allow()
    assert modes(core.run())[0] == "ask_human>execute"


def test_w21_a_resumed_call_keeps_the_correlation_of_its_tick_and_is_not_part_of_it() -> None:
    core = asked()
    first = tick_output(core.records[4:])
    core.resolve()
    core.allow()
    core.run()
    correlated = [record for record in core.records if record.correlation_id == "tick-1"]
    assert core.records[-1] in correlated
    assert tick_output(correlated) == first


def test_w22_a_ticket_of_another_session_is_unknown_here() -> None:
    core, other = asked(), Core()
    stranger = core.resolution("approved")
    assert other.tell(stranger) == ()
    assert core.tickets() == [stranger.resolution.approval_id]


def test_w22_a_resolution_is_taken_once() -> None:
    core = asked()
    given = core.resolution("denied")
    core.tell(given)
    assert core.tell(given) == ()


def test_w23_a_resolution_stands_on_the_tickets_own_branch() -> None:
    core = Core()
    core.fork("b")
    core.start(tool=call("c1"), branch="b")
    core.gate(branch="b")
    assert {record.branch_id for record in core.resolve("denied")} == {"b"}


def test_w24_approval_ids_are_strings_of_the_kernels_making() -> None:
    core = asked()
    assert (
        core.tell(
            inputs.ApprovalResolved(
                resolution=core.resolution("approved").resolution.__class__(
                    approval_id="not a uuid", decision=core.resolution("approved").resolution.decision
                )
            )
        )
        == ()
    )


def test_w25_a_request_says_which_capability_and_why_and_how_risky() -> None:
    core = Core()
    core.tools = {"rm": ToolDefinition(name="rm", annotations=ToolAnnotations(destructive=True))}
    core.use("c0")  # the state is at medium risk from here on
    risks = {}
    for tool in ("rm", "t"):
        core.start(tool=call(f"c-{tool}", tool))
        (request,) = kinds(core.gate("pay"), "ApprovalRequested")
        assert (request.capability, request.reason) == ("pay", f"approval required for tool {tool}")
        (ticket,) = (e.ticket for e in core.effects() if isinstance(e, AskApproval))
        assert ticket.risk == request.risk
        risks[tool] = request.risk
        core.resolve("denied")
    assert risks == {"rm": "high", "t": "medium"}


def test_w25_a_call_with_several_capabilities_has_a_ticket_for_each() -> None:
    core = asked("pay", "send")
    assert [request.capability for request in kinds(core.records, "ApprovalRequested")] == ["pay", "send"]


def test_w26_without_an_answer_of_the_gate_the_call_waits_and_never_runs() -> None:
    core = Core()
    core.start(tool=call("c1"))
    verdict = core.verdict()  # neither signed nor a reason: nothing that lets it run
    assert kinds(core.tell(verdict), "ToolCallFailed")[0].error == "denied by the policy gate"
    assert not [e for e in core.effects() if isinstance(e, RunTool)]


def test_w27_tickets_are_folded_from_the_log() -> None:
    core = asked("pay", "send")
    core.resolve(index=0)
    assert len(core.tickets()) == 1  # Core folds its state from the bytes of the log


def test_w27_a_ticket_that_nobody_answers_times_out() -> None:
    core = asked()
    (ticket,) = (e.ticket for e in core.effects() if isinstance(e, AskApproval))
    assert ticket.expires_at == "2026-04-05T13:00:00Z"
    ended = core.resolve("timeout", actor="approver")
    assert told(ended) == ["ApprovalResolved", "ModeChanged", "ToolCallFailed", *END]
    assert kinds(ended, "ToolCallFailed")[0].error == "approval timed out"


def test_w28_pending_tickets_hold_back_their_own_branch_only() -> None:
    core = asked()
    core.fork("b")
    assert told(core.say(branch="b"))[-1] == "P:sleep"
    held = core.start("more")
    assert told(held) == [*BEGIN[:4], *END]
    output = tick_output(held)
    assert output is not None
    assert output.reason == "awaiting_approval"


def test_w29_after_a_denied_call_the_others_of_the_completion_still_run() -> None:
    core = Core()
    core.start()
    core.answer(call("c1"), call("c2"))
    core.deny()
    core.allow()
    assert "ToolCallCompleted" in told(core.run())


def test_w30_what_is_resumed_is_owed_until_it_is_done() -> None:
    core = asked()
    core.resolve()
    owed = list(react(core.session, approval_timeout_s=3600))
    assert [type(effect) for effect in owed] == [AskGate]
    assert owed == list(react(core.session, approval_timeout_s=3600))


def test_a_resolution_waits_for_the_turn_in_progress() -> None:
    core = Core()
    core.start()
    core.answer(call("c1"), call("c2"))
    core.gate()
    outcome = core.outcome(core.resolution("approved"))
    assert isinstance(outcome, Rejected)
    assert isinstance(outcome.error, Busy)


def test_withdrawn_tickets_end_their_calls() -> None:
    core = asked("pay", "send")
    ended = core.tell(inputs.CancelTurn(branch_id="main", tickets=True))
    assert told(ended) == ["ApprovalResolved", "ModeChanged", "ToolCallFailed", *END]
    assert kinds(ended, "ToolCallFailed")[0].error == "cancelled"
    assert {record.correlation_id for record in ended} == {"tick-1"}


@pytest.mark.parametrize("capability", ["pay", "send"])
def test_a_policy_that_changed_meanwhile_decides(capability: str) -> None:
    core = asked()
    policy = PolicySet(
        allow_capabilities=(), gate_capabilities=(), max_tool_runtime_secs=30, max_events_per_turn=256
    )
    core.tell(core.command("SetPolicy", {"policy": policy}))
    core.resolve()
    (gate,) = (e for e in core.effects() if isinstance(e, AskGate))
    assert gate.request.policy_version == 2
    assert not all(is_extension(record.kind) for record in core.deny(capability))
