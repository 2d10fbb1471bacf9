"""Faults of the original's controllers, modes and breaker that are mended here, by their numbers."""

from msgspec.structs import replace

from tests.kit.core import BEGIN, END, FINISH, Core, call, kinds, modes, told, with_streak
from vagus.contract.state import AgentStateVector


def test_w2_a_new_objective_wakes_a_sleeping_branch() -> None:
    core = Core()
    for number in range(9):
        core.use(f"c{number}", objective="first")
    assert core.branch().mode == "sleep"
    woken = core.say(objective="second")
    assert told(woken) == [*BEGIN[:3], "ModeChanged", *BEGIN[3:], "TextDelta", *FINISH]
    assert kinds(woken, "ModeChanged")[0].reason == "new objective"
    assert modes(woken)[0].startswith("sleep>")
    assert kinds(woken, "StateEstimated")[0].state.progress == 0.0


def test_w2_the_same_or_no_objective_lets_a_sleeping_branch_sleep() -> None:
    core = Core()
    for number in range(9):
        core.use(f"c{number}", objective="first")
    for objective in ("first", ""):
        ended = core.start(objective)
        assert told(ended) == [*BEGIN[:4], *END]
        assert modes(ended) == ["sleep", "sleep"]


def test_w2_a_fork_of_a_sleeping_branch_wakes_alike() -> None:
    core = Core()
    for number in range(9):
        core.use(f"c{number}", objective="first")
    core.fork("b")
    asleep = core.start("first", branch="b")
    assert told(asleep) == [*BEGIN[:4], *END]
    core.fork("c")
    woken = core.start("second", branch="c")
    assert modes(woken)[0].startswith("sleep>")
    assert kinds(woken, "ModeChanged")[0].reason == "new objective"


def test_w3_a_turn_of_text_clears_the_error_streak() -> None:
    core = Core()
    core.start()
    core.fail()
    assert core.vector().error_streak == 1
    core.say()
    assert core.vector().error_streak == 0


def test_w3_the_breaker_trips_when_the_streak_crosses_and_not_again() -> None:
    core = Core()
    tripped = [len(kinds(core.use(f"c{number}", error="x"), "CircuitBreakerTripped")) for number in range(5)]
    assert tripped == [0, 0, 1, 0, 0]


def test_w3_the_breaker_trips_again_after_the_streak_was_broken() -> None:
    core = Core()
    for number in range(3):
        core.use(f"c{number}", error="x")
    core.say()
    tripped = [len(kinds(core.use(f"d{number}", error="x"), "CircuitBreakerTripped")) for number in range(3)]
    assert tripped == [0, 0, 1]


def test_w3_a_streak_that_is_broken_and_made_again_within_a_turn_trips_it() -> None:
    core = Core()
    for number in range(3):
        core.use(f"c{number}", error="x")
    core.start()
    core.answer(*(call(f"d{number}") for number in range(4)))
    core.allow()
    core.run()  # clears the streak: the breaker is closed
    for _ in range(2):
        core.allow()
        core.run(error="x")
    core.allow()
    assert "CircuitBreakerTripped" in told(core.run(error="x"))


def test_w3_a_resumed_call_does_not_trip_a_breaker_that_is_open() -> None:
    for decision in ("approved", "denied"):
        core = Core()
        core.start(vector=with_streak(2))
        core.answer(call("paid"), call("bad"))
        core.gate()
        core.deny()
        assert core.vector().error_streak == 3
        resumed = list(core.resolve(decision))
        if decision == "approved":
            core.allow()
            resumed += core.run(error="x")
        assert "CircuitBreakerTripped" not in told(resumed)


def test_w9_a_failure_with_exit_0_is_no_success() -> None:
    core = Core()
    core.start(tool=call("c1"))
    core.allow()
    ended = core.run(error="bad", exit_status=0)
    assert kinds(ended, "ToolCallCompleted")[0].status == "error"
    assert core.vector().progress == 0.0
    assert core.vector().error_streak == 1


def test_w9_a_success_with_another_exit_is_none() -> None:
    core = Core()
    core.start(tool=call("c1"))
    core.allow()
    assert kinds(core.run({"ok": True}, exit_status=2), "ToolCallCompleted")[0].status == "error"


def test_w9_a_runner_cannot_call_a_failure_ok() -> None:
    for status in ("ok", "no such status"):
        core = Core()
        core.start(tool=call("c1"))
        core.allow()
        ended = core.run(error="bad", exit_status=1, status=status)
        assert kinds(ended, "ToolCallCompleted")[0].status == "error"


def test_w11_every_change_of_the_recorded_mode_is_told_with_the_true_from() -> None:
    core = Core()
    core.start()
    core.answer(call("c1"), call("c2"))
    assert modes(core.deny()) == ["explore>recover"]
    core.allow()
    core.run()  # recover outranks what a success would make of the mode
    assert modes(core.say()) == ["recover>explore", "explore", "explore"]
    recorded = "explore"
    for record in core.records:
        for shown in modes([record]):
            before, _, after = shown.rpartition(">")
            assert before in ("", recorded)
            assert before or after == recorded or record.sequence < 10
            recorded = after


def test_w11_the_change_stands_directly_before_its_cause() -> None:
    core = Core()
    core.start()
    assert told(core.fail()) == ["ModeChanged", "RunErrored", *END]
    core.start(tool=call("c1"))
    assert told(core.deny())[:2] == ["ModeChanged", "ToolCallFailed"]
    core.start(tool=call("c2"))
    assert told(core.gate())[:2] == ["ModeChanged", "ApprovalRequested"]


def test_w12_ask_human_outranks_recover_and_a_later_success() -> None:
    core = Core()
    core.start()
    core.answer(call("c1"), call("c2"), call("c3"))
    core.gate()
    core.deny()
    core.allow()
    ended = core.run()
    assert modes(ended) == ["ask_human"]
    assert core.branch().mode == "ask_human"


def test_w12_recover_outranks_a_later_success() -> None:
    core = Core()
    core.start()
    core.answer(call("c1"), call("c2"))
    core.deny()
    core.allow()
    core.run()
    assert core.branch().mode == "recover"


def test_w12_a_turn_that_begins_in_recover_may_leave_it_by_a_success() -> None:
    core = Core()
    core.start(tool=call("c1"), vector=with_streak(3))
    core.allow()
    assert modes(core.run()) == ["recover>execute", "execute"]


def test_w14_state_and_mode_are_of_the_branch() -> None:
    core = Core()
    core.fork("b")
    for number in range(3):
        core.use(f"c{number}", branch="b", error="x")
    assert core.branch("b").mode == "recover"
    assert modes(core.say()) == ["explore", "explore"]
    assert core.vector() == AgentStateVector()


def test_w14_a_fork_begins_with_its_parents_state_and_the_mode_that_this_calls_for() -> None:
    core = Core()
    core.use("c1")
    core.fork("b")
    assert core.vector("b") == core.vector()
    assert modes(core.say(branch="b")) == ["execute", "execute"]
    core.start(tool=call("c2"))
    core.gate()
    core.fork("c")
    assert modes(core.say(branch="c")) == ["execute", "execute"]


def test_w13_one_harness_error_is_recover_at_once_as_in_the_original() -> None:
    core = Core()
    core.start(tool=call("c1"))
    core.allow()
    assert modes(core.broken())[0] == "explore>recover"
    assert core.vector() == replace(
        AgentStateVector(),
        error_streak=1,
        uncertainty=0.85,
        budget=replace(AgentStateVector().budget, error_budget_remaining=7),
    )
