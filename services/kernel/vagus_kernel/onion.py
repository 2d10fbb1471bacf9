"""Runs the middlewares around a turn, in a task of its own: the actor goes on meanwhile."""

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from math import inf

import anyio
from anyio.abc import TaskGroup

from vagus.contract.errors import Interrupted, Refused, VagusError
from vagus.contract.extensions import GuardDecision
from vagus.contract.sessions import TickOutput
from vagus.contract.state import AgentStateVector, OperatingMode
from vagus_kernel.lanes import Held, Pending
from vagus_kernel.middleware import Middleware, TurnContext, chain
from vagus_kernel.thinker import judge

_log = logging.getLogger(__name__)


@dataclass(slots=True, frozen=True)
class Begin:
    """The middlewares let the turn begin."""

    held: Held
    ctx: TurnContext
    estimate: OperatingMode
    """The mode before any middleware touched it."""
    state: AgentStateVector
    """Likewise."""
    guards: Mapping[str, GuardDecision]
    pending: Pending


@dataclass(slots=True, frozen=True)
class Done:
    """The middlewares are through: this is the reply."""

    held: Held
    branch_id: str
    outcome: TickOutput | VagusError


@dataclass(slots=True)
class _Round:
    """One tick's way through the middlewares."""

    held: Held
    scope: anyio.CancelScope = field(default_factory=anyio.CancelScope)
    entered: bool = False
    begun: bool = False
    cancelled: bool = False


class Onion:
    """The middlewares of one session's turns.

    Args:
        middlewares: The first is the outermost.
        tasks: Where they run.
        post: Takes what they come to.
        limit_s: What they and the turn may take together, seconds.
    """

    def __init__(
        self,
        middlewares: tuple[Middleware, ...],
        tasks: TaskGroup,
        post: Callable[[Begin | Done], None],
        *,
        limit_s: float = inf,
    ) -> None:
        self._middlewares = middlewares
        self._tasks = tasks
        self._post = post
        self._limit_s = limit_s
        self._rounds: dict[str, _Round] = {}

    def __bool__(self) -> bool:
        return bool(self._middlewares)

    def start(self, held: Held, ctx: TurnContext) -> None:
        """Run the chain for a tick; ends in a `Done`, after a `Begin` unless the turn was skipped."""
        self._tasks.start_soon(self._run, _Round(held), ctx)

    def cancel(self, key: str) -> bool:
        """End a tick that the middlewares have not let begin yet; False if there is none such."""
        found = self._rounds.get(key)
        if found is None or found.begun:
            return False
        found.cancelled = True
        found.scope.cancel()
        return True

    async def _run(self, turn: _Round, ctx: TurnContext) -> None:
        key, branch_id = turn.held.key, ctx.branch_id
        self._rounds[key] = turn
        turn.scope.deadline = anyio.current_time() + self._limit_s
        outcome: TickOutput | VagusError = Interrupted(f"the turn took longer than {self._limit_s:g} s")
        try:
            with turn.scope:
                outcome = await self._outcome(turn, ctx)
        finally:
            del self._rounds[key]
        if turn.cancelled:
            outcome = Refused("cancelled before it began")
        self._post(Done(turn.held, branch_id, outcome))

    async def _outcome(self, turn: _Round, ctx: TurnContext) -> TickOutput | VagusError:
        estimate, state = ctx.mode, ctx.state

        async def proceed(inner: TurnContext) -> TickOutput:
            if turn.entered:
                raise Interrupted("a middleware proceeded twice")
            turn.entered = True
            call = inner.input.proposed_tool
            guards = await judge(inner.guards, inner, [call] if call is not None else [])
            pending = Pending()
            turn.begun = True
            self._post(Begin(turn.held, inner, estimate, state, guards, pending))
            await pending.ended.wait()
            if isinstance(pending.outcome, TickOutput):
                return pending.outcome
            raise pending.outcome or Interrupted("the turn ended without an output")

        try:
            outcome = await chain(self._middlewares, proceed)(ctx)
        except VagusError as error:
            return error
        except Exception as error:  # a middleware's bug is its tick's error, not the kernel's end
            _log.exception("a middleware failed")
            return Interrupted(f"{type(error).__name__}: {error}")
        if not isinstance(outcome, TickOutput):
            return Interrupted(f"a middleware returned {type(outcome).__name__}, not the turn's output")
        return outcome
