"""A tick whose question is with the gate, and how it must end whichever way its answers come."""

from tests.kit.world import Process, World
from vagus.contract.messages import Role


def asked(world: World) -> Process:
    """A kernel that has asked the gate, and stores what made it ask."""
    kernel = Process(world)
    world.create()
    world.settle_all(kernel)
    world.command("Tick", {"objective": "do", "proposed_tool": {"tool_name": "do", "input": {}}}, "t")
    world.hand_out(kernel)
    assert len(world.gate) == 1
    return kernel


def stored(world: World, role: Role) -> int:
    """How many answers of a role came by the inbox."""
    return sum(f".{role}." in queued.subject for queued in world.inbox)


def ends(world: World, kernel: Process) -> None:
    """The tick ends, once, with the tool's one result."""
    world.settle_all(kernel)
    assert [reply.error for reply in world.replies["t"]] == [None]
    assert set(world.runs.values()) == {1}
    completed = [event for event in world.events() if event.kind.type == "ToolCallCompleted"]  # type: ignore[union-attr]
    assert len(completed) == 1
    world.check(kernel)
    kernel.kill()
