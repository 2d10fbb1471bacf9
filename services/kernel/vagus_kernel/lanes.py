"""Lanes: one a branch. What a branch's turn holds on to, and the inputs that wait for its end, in order."""

from collections import deque
from dataclasses import dataclass, field

import anyio

from vagus.contract.approvals import Resolution
from vagus.contract.commands import Tick
from vagus.contract.errors import VagusError
from vagus.contract.events import EventRecord
from vagus.contract.limits import QUEUED_TICKS
from vagus.contract.sessions import TickOutput
from vagus.runtime.queue import Delivery
from vagus_kernel.middleware import Guard


@dataclass(slots=True)
class Held:
    """An input that stays unacked: its redelivery is what wakes the session in a new kernel."""

    input: Tick | Resolution
    delivery: Delivery
    traceparent: str | None = None

    @property
    def key(self) -> str:
        """The same for every delivery of the input."""
        return self.input.command_id if isinstance(self.input, Tick) else self.input.approval_id


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
    """The input of the turn in progress."""
    pending: Pending | None = None
    """Middlewares wait for the turn's end."""
    guards: list[Guard] = field(default_factory=list)
    waiting: deque[Held] = field(default_factory=deque)
    events: list[EventRecord] = field(default_factory=list)
    """Of the turn in progress, as far as this kernel wrote them."""

    @property
    def occupied(self) -> bool:
        """Whether an input of this kernel's is at work or waits here."""
        return self.holder is not None or bool(self.waiting)

    @property
    def full(self) -> bool:
        """Whether another tick must be refused."""
        return sum(isinstance(held.input, Tick) for held in self.waiting) >= QUEUED_TICKS

    def find(self, key: str) -> Held | None:
        """The input with this key, if it is held or waits here."""
        if self.holder is not None and self.holder.key == key:
            return self.holder
        return next((held for held in self.waiting if held.key == key), None)

    def held(self) -> list[Held]:
        """Everything that is unacked."""
        return [*([self.holder] if self.holder is not None else []), *self.waiting]
