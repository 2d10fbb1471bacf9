"""Where a sink's events come from, as far as a carrier needs to know."""

from collections.abc import Sequence
from typing import Protocol

from vagus_relay.sinks.port import Delivery


class Taken(Delivery, Protocol):
    """A delivery that is ours until it is acknowledged or buried."""

    @property
    def failing_since(self) -> float | None:
        """What `note_failing` was told, here or by a process that had it before; in this process's time."""
        ...

    async def note_failing(self, since: float) -> None:
        """Delivering it has failed since then: have that survive this process."""
        ...

    async def ack(self) -> None:
        """It is delivered; never give it again."""
        ...

    async def bury(self, reason: str) -> None:
        """It can never be delivered: put it into the dead letters, and do not give it again."""
        ...


class Source(Protocol):
    """Events under a durable name: at least once, and in order within a session.

    While an event of a session is taken and not settled, no other one of that session is given, but for
    those that were given together with it.
    """

    async def batch(self, limit: int, within_s: float) -> Sequence[Taken]:
        """The next events, at most `limit`; waits `within_s` at most, and may give none."""
        ...
