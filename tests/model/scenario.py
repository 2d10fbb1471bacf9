"""Scenarios: what clients ask for, before anything goes wrong."""

from collections.abc import Callable
from typing import Any, Final

from tests.kit.world import World


def _tick(world: World, command_id: str, objective: str, branch: str = "main", *, tool: str = "") -> None:
    body: dict[str, Any] = {"objective": objective}
    if tool:
        body["proposed_tool"] = {"tool_name": tool, "input": {"of": command_id}}
    world.command("Tick", body, command_id, branch)


def _text(world: World) -> None:
    _tick(world, "t", "text")


def _tool(world: World) -> None:
    _tick(world, "t", "do it", tool="do")


def _reading(world: World) -> None:
    _tick(world, "t", "look", tool="look")
    _tick(world, "u", "text")


def _model_tools(world: World) -> None:
    _tick(world, "t", "do do")


def _denied(world: World) -> None:
    _tick(world, "t", "rob", tool="rob")


def _approval(world: World) -> None:
    _tick(world, "t", "pay", tool="pay")
    _tick(world, "u", "text")


def _branches(world: World) -> None:
    _tick(world, "t", "do it", tool="do")
    world.command("CreateBranch", {"branch": "b"}, "fork")
    _tick(world, "u", "text", "b")
    world.command("MergeBranch", {"branch": "b", "cancel": True}, "merge")


def _cancel(world: World) -> None:
    _tick(world, "t", "do it", tool="do")
    world.command("Cancel", {}, "cancel")


def _copies(world: World) -> None:
    _tick(world, "t", "do it", tool="do")
    wire = world.sent["t"]
    world.command("Tick", wire["tick"], "t", copy=True)
    _tick(world, "u", "text")


SCENARIOS: Final[dict[str, Callable[[World], None]]] = {
    "text": _text,
    "tool": _tool,
    "reading": _reading,
    "model-tools": _model_tools,
    "denied": _denied,
    "approval": _approval,
    "branches": _branches,
    "cancel": _cancel,
    "copies": _copies,
}
