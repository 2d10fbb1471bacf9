"""A tick's priority stands on the log with its turn, and goes with each of its calls."""

import msgspec
import pytest

from tests.kit.core import Core, call
from vagus.contract import extensions
from vagus.contract.commands import Tick
from vagus.contract.events import Custom
from vagus.contract.tools import Priority, ToolCall
from vagus_kernel import inputs
from vagus_kernel.effects import RunTool
from vagus_kernel.evolve import evolve
from vagus_kernel.state import Session


def start(core: Core, tool: ToolCall | None = None, **body: str) -> None:
    command = core.command("Tick", {"objective": "go", "proposed_tool": tool, **body})
    assert isinstance(command, Tick)
    core.tell(inputs.StartTick(command=command))


def owed(core: Core) -> Priority:
    """The priority of the call that a runner is asked to run."""
    (effect,) = (effect for effect in core.effects() if isinstance(effect, RunTool))
    return effect.priority


def started(core: Core) -> dict[str, object]:
    """What the log says of the turn's start."""
    facts = [record.kind for record in core.records if isinstance(record.kind, Custom)]
    data = next(fact.data for fact in facts if fact.event_type == extensions.TurnStarted.event_type)
    assert isinstance(data, dict)
    return dict(data)


@pytest.mark.parametrize("priority", ["high", "low"])
def test_a_call_has_the_priority_of_its_tick(priority: str) -> None:
    core = Core()
    start(core, call("c"), priority=priority)
    core.allow()
    assert owed(core) == priority
    assert started(core)["priority"] == priority


def test_the_priority_is_normal_unless_said_and_then_takes_no_room_on_the_log() -> None:
    core = Core()
    start(core, call("c"))
    core.allow()
    assert owed(core) is Priority.NORMAL
    assert "priority" not in started(core)


def test_calls_of_the_model_have_it_too() -> None:
    core = Core()
    start(core, priority="low")
    core.answer(call("a"), call("b"))
    for _ in range(2):
        core.allow()
        assert owed(core) is Priority.LOW
        core.run()


def test_an_approved_call_has_that_of_the_tick_that_made_it() -> None:
    core = Core()
    start(core, call("c"), priority="high")
    core.gate("pay")
    core.resolve("approved")
    core.allow()
    assert owed(core) is Priority.HIGH


def test_the_next_tick_does_not_inherit_it() -> None:
    core = Core()
    start(core, call("a"), priority="high")
    core.allow()
    core.run()
    start(core, call("b"))
    core.allow()
    assert owed(core) is Priority.NORMAL


def test_a_new_owner_knows_it_from_the_log_and_from_a_snapshot() -> None:
    core = Core()
    start(core, call("c"), priority="high")
    core.allow()
    session: Session | None = None
    for record in core.records:
        session = evolve(session, record)
    assert session == core.session
    assert msgspec.json.decode(msgspec.json.encode(core.session), type=Session) == core.session


def test_an_unknown_priority_is_no_command() -> None:
    with pytest.raises(Exception, match="priority"):
        start(Core(), priority="urgent")


def test_below_low_there_is_nothing() -> None:
    assert [priority.below for priority in Priority] == [Priority.NORMAL, Priority.LOW, Priority.LOW]
