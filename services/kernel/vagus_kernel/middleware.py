"""The kernel's public extension point: middlewares around a turn, and guards of tool calls.

A middleware is called with the turn's context and `proceed`, which runs the rest of the chain and the turn
itself:

    async def shout(ctx: TurnContext, proceed: Next) -> TickOutput:
        ctx.input = msgspec.structs.replace(ctx.input, objective=ctx.input.objective.upper())
        return await proceed(ctx)

It may change the context before, look at the output after, add guards, or return an output of its own without
proceeding. An error that it raises is the tick's error; what is on the log stands. A tick that is delivered
again after a crash runs its middlewares again.
"""

import importlib
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Protocol, TypeAlias

from vagus.contract.errors import SettingsError
from vagus.contract.extensions import GuardDecision
from vagus.contract.sessions import SessionManifest, TickInput, TickOutput
from vagus.contract.state import AgentStateVector, OperatingMode
from vagus.contract.tools import ToolCall


@dataclass(slots=True, kw_only=True)
class TurnContext:
    """What a middleware may see and change."""

    session_id: str
    branch_id: str
    manifest: SessionManifest
    input: TickInput
    state: AgentStateVector
    mode: OperatingMode
    pending_approvals: int
    guards: "list[Guard]" = field(default_factory=list)


class Guard(Protocol):
    """Judges each tool call before the policy gate does; the first block wins, else the last warning."""

    name: str
    """Its events are recorded as `<name>.warning` and `<name>.hard_stop`."""

    async def on_tool_call(self, ctx: TurnContext, call: ToolCall) -> GuardDecision:
        """Say `allow()`, `warn(…)` or `block(…)`; an error ends the turn as RunErrored."""
        ...


Next: TypeAlias = Callable[[TurnContext], Awaitable[TickOutput]]
Middleware: TypeAlias = Callable[[TurnContext, Next], Awaitable[TickOutput]]


def allow() -> GuardDecision:
    """Nothing to say of the call."""
    return GuardDecision()


def warn(message: str, *, repetitions: int = 0, signature: str = "") -> GuardDecision:
    """The call goes on, and the model is told."""
    return GuardDecision(decision="warn", message=message, repetitions=repetitions, signature=signature)


def block(message: str, *, repetitions: int = 0, signature: str = "") -> GuardDecision:
    """The call is skipped, and the model is told."""
    return GuardDecision(decision="block", message=message, repetitions=repetitions, signature=signature)


def chain(middlewares: Sequence[Middleware], turn: Next) -> Next:
    """One callable out of all, the first outermost."""
    for middleware in reversed(middlewares):
        turn = _wrap(middleware, turn)
    return turn


def _wrap(middleware: Middleware, following: Next) -> Next:
    async def call(ctx: TurnContext) -> TickOutput:
        return await middleware(ctx, following)

    return call


def load(names: str) -> tuple[Middleware, ...]:
    """The middlewares that a setting names as `MODULE:NAME`, separated by commas."""
    found: list[Middleware] = []
    for name in filter(None, (part.strip() for part in names.split(","))):
        module, _, attribute = name.partition(":")
        try:
            found.append(getattr(importlib.import_module(module), attribute))
        except (ImportError, AttributeError, ValueError) as error:
            raise SettingsError(f"VAGUS_MIDDLEWARES: cannot load {name!r}: {error}") from error
    return tuple(found)
