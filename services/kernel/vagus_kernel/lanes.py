"""Lanes: one a branch. What a branch's turn holds on to, and the inputs that wait for its end, in order."""

from collections import deque
from dataclasses import dataclass, field
from typing import Final

import anyio

from vagus.contract.approvals import Resolution
from vagus.contract.commands import Tick
from vagus.contract.errors import VagusError
from vagus.contract.events import EventRecord
from vagus.contract.limits import QUEUED_TICKS
from vagus.contract.schedules import FIRED_HEADER
from vagus.contract.sessions import TickOutput
from vagus.runtime import telemetry
from vagus.runtime.queue import Delivery
from vagus_kernel.middleware import Guard

LISTENERS: Final = 8
"""Clients that sent the same tick and are replied to; more have to look for its end on the log."""


@dataclass(slots=True)
class Held:
    """An input that stays unacked: its redelivery is what wakes the session in a new kernel."""

    input: Tick | Resolution
    delivery: Delivery
    copies: "list[Held]" = field(default_factory=list)
    """The same input in other messages: none is acked before its end, for another kernel may hold another."""

    @property
    def key(self) -> str:
        """The same for every delivery of the input."""
        return self.input.command_id if isinstance(self.input, Tick) else self.input.approval_id

    @property
    def schedule(self) -> str | None:
        """The schedule that it comes from, if nobody has sent it just now."""
        return self.delivery.headers.get(FIRED_HEADER)

    @property
    def traceparent(self) -> str | None:
        """The context it was sent in."""
        return telemetry.extract(self.delivery.headers)

    @property
    def reply_to(self) -> list[str]:
        """Everybody who waits for the reply, up to a bound; nobody does for a resolution's."""
        ticks = [held.input for held in (self, *self.copies) if isinstance(held.input, Tick)]
        return list(dict.fromkeys(tick.reply_to for tick in ticks if tick.reply_to))[:LISTENERS]

    @property
    def deliveries(self) -> list[Delivery]:
        """Everything that is to be settled with it."""
        return [self.delivery, *(copy.delivery for copy in self.copies)]


@dataclass(slots=True)
class Pending:
    """A turn whose end middlewares wait for."""

    ended: anyio.Event = field(default_factory=anyio.Event)
    outcome: TickOutput | VagusError | None = None

    def settle(self, outcome: TickOutput | VagusError) -> None:
        """The turn has ended, or was refused."""
        self.outcome = outcome
        self.ended.set()


@dataclass(slots=True)
class Lane:
    """One branch's."""

    holder: Held | None = None
    """The input that is at work: of the turn in progress, or of middlewares before and after it."""
    wrapped: bool = False
    """Middlewares run around the holder's turn, and give the reply."""
    pending: Pending | None = None
    """They wait for the turn's end."""
    outcome: TickOutput | VagusError | None = None
    """How the turn ended before they asked, or what they said before it ended."""
    guards: list[Guard] = field(default_factory=list)
    waiting: deque[Held] = field(default_factory=deque)
    events: list[EventRecord] = field(default_factory=list)
    """Of the turn in progress, as far as this kernel wrote them."""

    @property
    def full(self) -> bool:
        """Whether another tick must be refused."""
        return sum(isinstance(held.input, Tick) for held in self.waiting) >= QUEUED_TICKS

    def find(self, key: str) -> Held | None:
        """The input with this key, if it is at work or waits here."""
        if self.holder is not None and self.holder.key == key:
            return self.holder
        return next((held for held in self.waiting if held.key == key), None)

    def free(self) -> Held | None:
        """Nothing is at work any more; returns the input that was."""
        holder, self.holder = self.holder, None
        self.wrapped, self.pending, self.outcome = False, None, None
        self.guards, self.events = [], []
        return holder
