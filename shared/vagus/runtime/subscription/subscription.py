"""A subscription to the events of all sessions, as those see it who subscribed."""

from collections.abc import Collection
from typing import Self

import anyio

from vagus.runtime.subscription.delivery import Delivery
from vagus.runtime.subscription.desk import Desk
from vagus.runtime.subscription.intake import Intake


class Subscription:
    """What `subscribe` gives: events, in order for each session. Any number of tasks may take them.

    It goes on as long as its block: over lost connections, and while others take part or leave. Nothing is
    handed out while it cannot be known which sessions are ours.
    """

    def __init__(self, desk: Desk, intake: Intake, prefetch: int) -> None:
        self._desk = desk
        self._intake = intake
        self._prefetch = prefetch

    @property
    def behind(self) -> int:
        """Events that waited on the server behind the last one read, whatever their owner."""
        return self._intake.behind

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Delivery:
        """The next event; waits for one."""
        while True:
            for delivery in await self._desk.take(1):
                return delivery
            await self._desk.wait(None)

    async def batch(self, limit: int, within_s: float) -> list[Delivery]:
        """At most `limit` events as soon as they are there, else what is there after `within_s`, if anything.

        Of one session consecutive events. What has failed before comes alone.
        """
        until = anyio.current_time() + within_s
        limit = min(limit, self._prefetch)
        while not self._desk.has_enough(limit) and anyio.current_time() < until:
            await self._desk.wait(until)
        while not (taken := await self._desk.take(limit)) and anyio.current_time() < until:
            await self._desk.wait(until)  # all that is there waits behind what is in hand
        return taken

    async def ack(self, batch: Collection[Delivery]) -> None:
        """All of these are done."""
        for delivery in batch:
            await delivery.ack()

    async def fail(self, batch: Collection[Delivery], reason: str) -> None:
        """None of these could be done, because of one: of each session the first is tried again, alone."""
        for delivery in batch:
            await delivery.fail(reason)
