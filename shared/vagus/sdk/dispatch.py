"""Sends commands and brings back their answers: by reply, or, when that was missed, from the log."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Final, TypeVar

import anyio
import msgspec

from vagus.contract import limits
from vagus.contract.commands import Command, Reply, Tick
from vagus.contract.errors import BudgetExceeded, Malformed, OutcomeUnknown, VagusError
from vagus.contract.messages import Role
from vagus.contract.sessions import TickOutput
from vagus.contract.subjects import Subjects
from vagus.runtime.bus import Bus
from vagus.runtime.eventlog import EventLog
from vagus.sdk.liveness import may_live
from vagus.sdk.lookup import TickLookup
from vagus.sdk.post import encoded, store_once
from vagus.sdk.replies import Awaited, Replies

T = TypeVar("T")

LOOK_S: Final = 5.0
"""How often a tick without a reply is looked for on the log."""
NO_KERNEL_LOOKS: Final = 3
"""After so many looks in a row without a live kernel the wait is given up."""


class Dispatch:
    """The way from a client to the sessions and back."""

    def __init__(
        self,
        *,
        bus: Bus,
        log: EventLog,
        on_end: Callable[[TickOutput], None],
        replies: Replies,
        subjects: Subjects,
    ) -> None:
        self._bus = bus
        self._log = log
        self._on_end = on_end
        self._replies = replies
        self._subjects = subjects

    async def ask(self, command: Command, shape: type[T], *, timeout_s: float | None = None) -> T:
        """Send a command that is no tick; returns the `ok` of its reply, if that comes within `timeout_s`.

        By default that is `limits.REPLY_TIMEOUT_S`.

        Raises:
            VagusError: The typed error that the kernel answered with.
            Unavailable: The command was not stored.
            OutcomeUnknown: It may have been, and no reply came in time.
        """
        async with self._sent(command) as awaited:
            reply = await awaited.settled(limits.REPLY_TIMEOUT_S if timeout_s is None else timeout_s)
            alive = reply is not None or await self._kernel_lives()
            if reply is None and alive:  # on a cluster, leaders may have to be elected first
                reply = await awaited.settled(2 * limits.REPLY_TIMEOUT_S)
        if reply is not None:
            return unwrap(reply, shape)
        raise OutcomeUnknown(
            f"no reply to {type(command).__name__} {command.command_id} in time"
            + ("" if alive else ": no kernel is alive to take it; start one with `vagus up`")
        )

    async def tick(self, command: Tick, *, timeout_s: float) -> TickOutput:
        """Send a tick and wait for its end, by whichever way the news of it comes first.

        Raises:
            BudgetExceeded: A budget of the branch is spent; nothing ran.
            OutcomeUnknown: It is stored and has not ended within `timeout_s`, or no kernel is alive.
        """
        async with self._sent(command) as awaited:
            output = await self._end_of(command, awaited, timeout_s)
        self._on_end(output)
        if output.reason == "budget_exceeded":
            raise BudgetExceeded(output.error)
        return output

    @asynccontextmanager
    async def _sent(self, command: Command) -> AsyncIterator[Awaited]:
        subject = self._subjects.inbox(Role.COMMAND, command.session_id)
        with self._replies.expect() as awaited:
            addressed = msgspec.structs.replace(command, reply_to=awaited.reply_to)
            stored = await store_once(self._bus, subject, encoded(addressed), msg_id=command.command_id)
            if stored.duplicate:
                awaited.stir()  # its reply went elsewhere, or is lost: look at once
            yield awaited

    async def _end_of(self, command: Tick, awaited: Awaited, timeout_s: float) -> TickOutput:
        lookup = TickLookup(self._log, command)
        deadline = anyio.current_time() + timeout_s
        orphaned = 0
        while (left := deadline - anyio.current_time()) > 0:
            reply = await awaited.reply(min(left, LOOK_S))
            if reply is not None:
                return unwrap(reply, TickOutput)
            output = await self._look(lookup)
            if output is not None:
                return output
            orphaned = 0 if await self._kernel_lives() else orphaned + 1
            if orphaned == NO_KERNEL_LOOKS:
                raise OutcomeUnknown(
                    f"tick {command.command_id} is stored, but no kernel is alive to run it: start one with "
                    "`vagus up`, and the tick will run"
                )
        raise OutcomeUnknown(
            f"tick {command.command_id} is stored and has not ended within {timeout_s:g} s: it goes on; "
            "its events carry this id as correlation_id"
        )

    async def _look(self, lookup: TickLookup) -> TickOutput | None:
        try:
            with anyio.fail_after(limits.REQUEST_TIMEOUT_S):
                return await lookup.look()
        except (VagusError, TimeoutError):
            return None  # no session yet, or no connection: the reply or the next look will tell

    async def _kernel_lives(self) -> bool:
        return await may_live(self._bus, self._subjects, "kernel")


def unwrap(reply: Reply, shape: type[T]) -> T:
    """The `ok` of a reply as `shape`; raises the typed error that it carries instead."""
    if reply.error is not None:
        raise reply.error.to_error()
    try:
        return msgspec.json.decode(reply.ok, type=shape)
    except msgspec.MsgspecError as error:
        raise Malformed(f"the reply is not a {shape.__name__}: {error}") from error
