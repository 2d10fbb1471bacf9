"""The turn middlewares of a trace, written against the kernel's public extension point."""

from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from tests.parity.trace import Object, Trace
from vagus.contract.errors import Interrupted
from vagus.contract.extensions import GuardDecision
from vagus.contract.sessions import TickOutput
from vagus.contract.state import AgentStateVector, OperatingMode
from vagus.contract.tools import ToolCall
from vagus_kernel.middleware import Middleware, Next, TurnContext, allow, block, warn

Patch = Callable[[], Object]
"""What the step that is played changes of the state."""


def middleware(described: Object, patch: Patch) -> Middleware:
    """One middleware, as a trace describes it."""

    async def around(ctx: TurnContext, proceed: Next) -> TickOutput:
        match described:
            case {"type": "objective_prefix", "prefix": prefix}:
                ctx.input = msgspec.structs.replace(ctx.input, objective=prefix + ctx.input.objective)
            case {"type": "short_circuit", "message": message} if ctx.input.objective == "short-circuit":
                raise Interrupted(message)
            case {"type": "patch_state"}:
                _patch(ctx, patch())
            case {"type": "static_guard"}:
                ctx.guards.append(StaticGuard(described))
        return await proceed(ctx)

    return around


def own(trace: Trace) -> list[Object]:
    """The middlewares of a trace that are not built into the kernel."""
    return [described for described in trace.middlewares if described["type"] != "loop_detection"]


class StaticGuard:
    """Says the same of every call, or of every call of one tool."""

    name = "static_guard"

    def __init__(self, described: Object) -> None:
        self._described = described

    async def on_tool_call(self, ctx: TurnContext, call: ToolCall) -> GuardDecision:
        """What it was told to say."""
        said = self._described
        if said.get("only_tool") not in (None, call.tool_name):
            return allow()
        if said["decision"] == "error":
            raise RuntimeError(said["message"])
        speak = {"warn": warn, "block": block}[said["decision"]]
        return speak(said["message"], repetitions=said["repetitions"], signature=said["signature"])


def _patch(ctx: TurnContext, patch: Object) -> None:
    state: Mapping[str, Any] = patch.get("state", {})
    plain = msgspec.to_builtins(ctx.state)
    budget = {**plain["budget"], **state.get("budget", {})}
    ctx.state = msgspec.convert({**plain, **state, "budget": budget}, AgentStateVector)
    if "mode" in patch:
        ctx.mode = OperatingMode(patch["mode"])
