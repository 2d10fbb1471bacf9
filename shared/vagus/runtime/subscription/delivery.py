"""An event that a subscriber was given."""

from functools import cached_property
from typing import Protocol

from vagus.contract.codec import decode_record
from vagus.contract.events import EventRecord
from vagus.contract.subscriptions import Cursor
from vagus.runtime.subscription.bench import Item


class Settling(Protocol):
    """Where deliveries are settled."""

    def settle(self, item: Item, handed: int) -> None:
        """It is done."""
        ...

    def send_back(self, item: Item, handed: int, reason: str) -> None:
        """It could not be done."""
        ...

    def give_up(self, item: Item, handed: int, reason: str) -> None:
        """It can never be done."""
        ...

    def failing(self, item: Item, handed: int, since: float) -> None:
        """Have it noted since when delivering it has failed."""
        ...


class Delivery:
    """An event that is ours until it is settled, once: by `ack`, `fail` or `bury`; later attempts do nothing.

    It may be kept as long as one likes: no other event of its session comes meanwhile.
    """

    def __init__(self, desk: Settling, item: Item) -> None:
        self._desk = desk
        self._item = item
        self._handed = item.handed
        self.attempt: int = item.failures + 1
        """Counts from 1 how often it was given to anybody, as far as is known."""

    @property
    def session_id(self) -> str:
        """The session."""
        return self._item.session

    @property
    def branch_id(self) -> str:
        """The branch."""
        return self._item.branch

    @property
    def kind(self) -> str:
        """What happened, such as `ToolCallRequested`."""
        return self._item.kind

    @property
    def sequence(self) -> int:
        """Counts from 1 on each branch, without gaps."""
        return self._item.sequence

    @property
    def event_id(self) -> str:
        """Unique over all sessions: the same whenever this event comes again."""
        return self._item.event_id

    @property
    def retried(self) -> bool:
        """Whether it was a dead letter: it comes after later ones of its branch, whatever `sequence` says."""
        return bool(self._item.revived)

    @property
    def line(self) -> bytes:
        """The event as its log holds it, without the newline."""
        return self._item.line

    @property
    def cursor(self) -> Cursor:
        """A subscription that starts there begins with the next event."""
        return Cursor(self._item.position)

    @cached_property
    def event(self) -> EventRecord:
        """The event; raises `Malformed` if the line is none."""
        return decode_record(self._item.line)

    async def ack(self) -> None:
        """It is done. A durable subscription writes that down within `limits.CHECKPOINT_S`."""
        self._desk.settle(self._item, self._handed)

    async def fail(self, reason: str) -> None:
        """It could not be done: it comes again, later and later; the fifth time it goes to the dead letters.

        Its session waits meanwhile, also for what was given after it: that comes again as well.
        """
        self._desk.send_back(self._item, self._handed, reason)

    async def bury(self, reason: str) -> None:
        """It can never be done: it goes to the dead letters at once. Its session waits until it is there."""
        self._desk.give_up(self._item, self._handed, reason)

    @property
    def failing_since(self) -> float | None:
        """What `note_failing` was told, by this process or by one that had the event before."""
        return self._item.failing_since

    async def note_failing(self, since: float) -> None:
        """Have it written down that delivering this has failed since then (`anyio.current_time`); no more.

        Whoever has this event next is told, by its own clock, and without the time in which nobody had it.
        """
        self._desk.failing(self._item, self._handed, since)

    def __repr__(self) -> str:
        return f"Delivery({self.session_id}/{self.branch_id} {self.sequence} {self.kind})"
