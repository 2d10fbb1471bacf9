"""Budgets that the original counted and never looked at."""

import pytest
from msgspec.structs import replace

from tests.kit.core import BEGIN, END, FINISH, Core, call, kinds, modes, told
from vagus.contract.outcome import tick_output
from vagus.contract.sessions import BudgetExtension
from vagus.contract.state import BudgetState

SPENT = ("tokens_remaining", "time_remaining_ms", "cost_remaining_usd", "error_budget_remaining")


@pytest.mark.parametrize("field", SPENT)
def test_w15_a_spent_budget_ends_the_tick_short(field: str) -> None:
    core = Core(budget=replace(BudgetState(), **{field: 0}))
    ended = core.start()
    assert told(ended) == [*BEGIN[:4], "ErrorRaised", *END]
    assert kinds(ended, "ErrorRaised")[0].message == f"budget exceeded: {field}"
    assert modes(ended) == ["explore", "explore"]
    assert core.vector().error_streak == 0
    output = tick_output(ended)
    assert output is not None
    assert output.reason == "budget_exceeded"


def test_w15_with_no_calls_left_calls_are_refused_and_text_goes_on() -> None:
    core = Core(budget=replace(BudgetState(), tool_calls_remaining=0))
    core.start()
    ended = core.answer("before", call("c1"), "after")
    assert told(ended) == ["TextDelta", "P:gate", "ToolCallRequested", "ToolCallFailed", "TextDelta", *FINISH]
    assert kinds(ended, "ToolCallFailed")[0].error == "budget exceeded: tool_calls_remaining"
    assert core.vector().error_streak == 0
    assert core.vector().budget.error_budget_remaining == 8
    assert core.branch().mode == "explore"


def test_w15_an_inline_call_is_refused_alike() -> None:
    core = Core(budget=replace(BudgetState(), tool_calls_remaining=0))
    assert told(core.start(tool=call("c1"))) == [
        *BEGIN,
        "P:gate",
        "ToolCallRequested",
        "ToolCallFailed",
        *FINISH,
    ]


def test_w15_extending_the_budget_lets_the_branch_go_on() -> None:
    core = Core(budget=replace(BudgetState(), tokens_remaining=0))
    core.start()
    command = core.command("ExtendBudget", BudgetExtension(tokens=1000))
    assert core.reply(command).tokens_remaining == 1000
    assert told(core.say())[-1] == "P:sleep"
    assert core.vector().budget.tokens_remaining == 1000


def test_w15_a_budget_is_extended_once_however_often_the_command_comes() -> None:
    core = Core()
    command = core.command("ExtendBudget", BudgetExtension(tokens=1000))
    core.tell(command)
    assert core.tell(command) == ()
    core.start()
    during = core.command("ExtendBudget", BudgetExtension(tokens=1000))
    core.tell(during)
    assert core.tell(during) == ()
    core.answer("hello")
    assert core.tell(during) == ()
    assert core.vector().budget.tokens_remaining == BudgetState().tokens_remaining + 2000


def test_w15_what_is_added_during_a_turn_outlasts_it_and_is_inherited() -> None:
    core = Core()
    core.start()
    core.tell(core.command("ExtendBudget", BudgetExtension(tool_calls=5)))
    core.fork("b")
    core.answer("hello")
    assert core.vector().budget.tool_calls_remaining == 53
    assert core.vector("b").budget.tool_calls_remaining == 53


def test_w15_can_be_turned_off_and_is_then_as_in_the_original() -> None:
    nothing = replace(BudgetState(), tokens_remaining=0, tool_calls_remaining=0)
    core = Core(budget=nothing, enforce_budget=False)
    core.use("c1")
    assert core.vector().progress == 0.12
    assert core.vector().budget.tokens_remaining == 0
