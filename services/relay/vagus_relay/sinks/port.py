"""What a sink is: the one port between the events and another system."""

from collections.abc import Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Protocol, TypeAlias

from vagus.contract.errors import Permanent, Transient
from vagus.contract.json import Json


class Delivery(Protocol):
    """One event that is to be delivered, as its log holds it."""

    @property
    def line(self) -> bytes:
        """The event: one line of canonical JSON, without its newline."""
        ...

    @property
    def session_id(self) -> str:
        """Whose event it is."""
        ...

    @property
    def branch_id(self) -> str:
        """On which branch."""
        ...

    @property
    def sequence(self) -> int:
        """On the branch, from 1 and without gaps; with session and branch it names the event for ever."""
        ...

    @property
    def retried(self) -> bool:
        """Whether it was a dead letter, which comes after later ones of its branch."""
        ...


class Sink(Protocol):
    """Another system that takes events."""

    async def write(self, batch: Sequence[Delivery]) -> None:
        """Deliver all of `batch`, in order; when this returns they are safe there, and never come again.

        Whatever dies first: events come again after a crash, in the order of their sequence, also ones that
        have been delivered. So what this does must have the same effect twice: key it by session, branch
        and sequence; the last sequence of a branch does not tell of one that is `retried`. An empty batch
        says that nothing came for a moment: time to finish what waits.

        Raises:
            TryLater: Nothing, or not all, could be delivered now; the same batch is given again.
            Poison: One event of the batch can never be delivered; the others are given again without it.
        """
        ...


class TryLater(Transient):
    """The receiver does not take events at the moment."""

    def __init__(self, message: str, after_s: float | None = None) -> None:
        super().__init__(message)
        self.after_s = after_s
        """The receiver's own wish; None: as the back-off says."""


class Poison(Permanent):
    """The receiver can never take this event: it goes to the dead letters."""

    def __init__(self, delivery: Delivery, reason: str) -> None:
        super().__init__(reason)
        self.delivery = delivery


Options: TypeAlias = Mapping[str, Json]


class SinkFactory(Protocol):
    """Makes a sink of somebody's own: `type = "custom"`, `factory = "module:name"`."""

    def __call__(self, options: Options) -> AbstractAsyncContextManager[Sink]:
        """The sink as a context: opened once, closed when the process ends.

        `options` is what the file of sinks says under `options`. What raises `SettingsError` on entering
        ends the process; what raises `TryLater` is opened again later.
        """
        ...
