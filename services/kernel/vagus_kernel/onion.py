"""Runs the middlewares around a turn, in a task of its own: the actor goes on meanwhile."""

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from anyio.abc import TaskGroup

from vagus.contract.errors import Interrupted, VagusError
from vagus.contract.sessions import TickOutput
from vagus.contract.state import OperatingMode
from vagus_kernel.lanes import Held, Pending
from vagus_kernel.middleware import Middleware, TurnContext, chain
from vagus_kernel.state import GuardDecision
from vagus_kernel.thinker import judge

_log = logging.getLogger(__name__)


@dataclass(slots=True, frozen=True)
class Begin:
    """The middlewares let the turn begin."""

    held: Held
    ctx: TurnContext
    estimate: OperatingMode
    """The mode before any middleware touched it."""
    guards: Mapping[str, GuardDecision]
    pending: Pending


@dataclass(slots=True, frozen=True)
class Done:
    """The middlewares are through: this is the reply."""

    held: Held
    branch_id: str
    outcome: TickOutput | VagusError


class Onion:
    """The middlewares of one session's turns."""

    def __init__(
        self,
        middlewares: tuple[Middleware, ...],
        tasks: TaskGroup,
        post: Callable[[Begin | Done], None],
    ) -> None:
        self._middlewares = middlewares
        self._tasks = tasks
        self._post = post

    def __bool__(self) -> bool:
        return bool(self._middlewares)

    def start(self, held: Held, ctx: TurnContext) -> None:
        """Run the chain for a tick; ends in a `Done`, after a `Begin` unless the turn was skipped."""
        self._tasks.start_soon(self._run, held, ctx)

    async def _run(self, held: Held, ctx: TurnContext) -> None:
        estimate = ctx.mode

        async def turn(inner: TurnContext) -> TickOutput:
            call = inner.input.proposed_tool
            guards = await judge(inner.guards, inner, [call] if call is not None else [])
            pending = Pending()
            self._post(Begin(held, inner, estimate, guards, pending))
            await pending.ended.wait()
            if isinstance(pending.outcome, TickOutput):
                return pending.outcome
            raise pending.outcome or Interrupted("the turn ended without an output")

        outcome: TickOutput | VagusError
        try:
            outcome = await chain(self._middlewares, turn)(ctx)
        except VagusError as error:
            outcome = error
        except Exception as error:  # a middleware's bug is its tick's error, not the kernel's end
            _log.exception("a middleware failed")
            outcome = Interrupted(f"{type(error).__name__}: {error}")
        self._post(Done(held, ctx.branch_id, outcome))
