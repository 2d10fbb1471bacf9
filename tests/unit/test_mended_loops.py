"""Loop detection and guards."""

import pytest

from tests.kit.core import FINISH, Core, call, completion, kinds, told
from vagus.contract.events import Custom
from vagus.contract.extensions import GuardDecision
from vagus_kernel import inputs


def repeat(core: Core, first: int, count: int, branch: str = "main") -> list[str]:
    """The same call in so many ticks: what is said of each."""
    said = []
    for number in range(first, first + count):
        tool = call(f"c{number}", given={"again": True})
        records = [*core.start(tool=tool, branch=branch)]
        if core.branch(branch).turn is not None:
            records += core.deny(branch=branch)
        customs = [k.event_type for k in kinds(records, "Custom")]
        said.append(next((name for name in customs if name.startswith("loop_detection.")), ""))
    return said


def test_w77_it_is_on_by_default_with_the_originals_limits() -> None:
    warned, stopped = "loop_detection.warning", "loop_detection.hard_stop"
    assert repeat(Core(), 0, 6) == ["", "", warned, warned, stopped, stopped]


def test_w77_it_can_be_turned_off() -> None:
    assert repeat(Core(loop_detection=False), 0, 6) == [""] * 6


def test_w74_history_is_of_the_branch_and_inherited_by_a_fork() -> None:
    core = Core()
    repeat(core, 0, 2)
    core.fork("b")
    assert repeat(core, 2, 1, "b") == ["loop_detection.warning"]
    core.fork("c")
    repeat(core, 3, 1)  # of no concern to what was forked before
    assert repeat(core, 4, 1, "c") == ["loop_detection.warning"]
    core.start(tool=call("other"), branch="c")
    core.deny(branch="c")
    assert repeat(core, 5, 1, "c") == [""]


def test_w50_history_outlives_the_process() -> None:
    core = Core()  # folds its state from the bytes of the log, after every commit
    assert repeat(core, 0, 3)[-1] == "loop_detection.warning"


def test_w42_a_stopped_call_leaves_the_guards_event_and_message_only() -> None:
    core = Core()
    repeat(core, 0, 4)
    stopped = core.start(tool=call("c9", given={"again": True}))
    assert told(stopped)[-len(FINISH) - 2 :] == ["Custom", "Message", *FINISH]
    (message,) = kinds(stopped, "Message")
    assert message.role == "assistant"
    assert "Respond with text only" in message.content


@pytest.mark.parametrize(("decision", "role"), [("warn", "system"), ("block", "assistant")])
def test_w76_guards_record_under_their_own_names(decision: str, role: str) -> None:
    core = Core()
    core.start()
    said = GuardDecision(decision=decision, guard="budget", message="mind", repetitions=2, signature="sig")
    records = core.tell(
        inputs.ModelAnswer(
            branch_id="main",
            run_id=core.branch().turn.run_id,  # type: ignore[union-attr]
            completion=completion(call("c1"), "on"),
            guards={"c1": said},
        )
    )
    (custom,) = (k for k in kinds(records, "Custom") if not k.event_type.startswith("vagus."))
    assert isinstance(custom, Custom)
    assert custom.event_type == ("budget.warning" if decision == "warn" else "budget.hard_stop")
    assert kinds(records, "Message")[0].role == role


def test_w76_the_first_block_wins_over_every_warning() -> None:
    core = Core()
    repeat(core, 0, 2)
    core.start()
    said = GuardDecision(decision="block", guard="mine", message="no")
    records = core.tell(
        inputs.ModelAnswer(
            branch_id="main",
            run_id=core.branch().turn.run_id,  # type: ignore[union-attr]
            completion=completion(call("c5", given={"again": True})),
            guards={"c5": said},
        )
    )
    names = [k.event_type for k in kinds(records, "Custom") if not k.event_type.startswith("vagus.")]
    assert names == ["mine.hard_stop"]
