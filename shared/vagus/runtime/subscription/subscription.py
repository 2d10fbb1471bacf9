"""A subscription to the events of all sessions: what is read waits on a bench until somebody takes it."""

import asyncio
import logging
from collections import deque
from collections.abc import Collection, Mapping
from contextlib import aclosing
from typing import Final, Protocol, Self

import anyio

from vagus.contract import limits
from vagus.contract.codec import decode_record
from vagus.contract.errors import Malformed, OutcomeUnknown, Unavailable
from vagus.contract.subjects import Subjects
from vagus.contract.subscriptions import Filter, partition_of
from vagus.runtime.bus import Bus, Message
from vagus.runtime.subscription.bench import Bench, Item
from vagus.runtime.subscription.burial import bury
from vagus.runtime.subscription.delivery import Delivery
from vagus.runtime.subscription.owners import Owners
from vagus.runtime.subscription.reader import read
from vagus.runtime.subscription.shares import Share

log = logging.getLogger("vagus.subscription")

RETRY_MOST_S: Final = 60.0
"""What has failed waits so long at most."""
_LOOK_S: Final = 0.5
"""How often somebody who waits looks whether the shares are still ours."""
_OWNER_S: Final = 1.0
"""Between two attempts to learn whose a session is."""


class Holding(Protocol):
    """The shares of one participant."""

    read_to: int
    """All events up to here were looked at, for every share."""

    @property
    def held(self) -> Mapping[int, Share]:
        """Those that are ours, by partition."""
        ...

    @property
    def valid(self) -> bool:
        """Whether they are known to be ours."""
        ...

    async def note(self, items: Collection[Item]) -> None:
        """These are about to be handed out."""
        ...

    def settled(self, item: Item) -> None:
        """One event is done."""
        ...

    def failed(self, item: Item) -> None:
        """One event has failed once more."""
        ...


class Subscription:
    """What `subscribe` gives: events, in order for each session. Any number of tasks may take them.

    It goes on as long as its block: over lost connections, and while others take part or leave. Nothing is
    handed out while it cannot be known which sessions are ours.
    """

    def __init__(
        self,
        bus: Bus,
        subjects: Subjects,
        filter: Filter,  # noqa: A002 -- the word for it
        *,
        bench: Bench,
        name: str,
        partitions: int,
        prefetch: int,
        retry_s: float,
        shares: Holding,
    ) -> None:
        self._bus = bus
        self._subjects = subjects
        self._filter = filter
        self._bench = bench
        self._name = name
        self._partitions = partitions
        self._prefetch = prefetch
        self._retry_s = retry_s
        self._shares = shares
        self._stream = subjects.named("EVENTS")
        self._owners = Owners(bus, subjects)
        self._bell = asyncio.Event()
        self._dead: deque[tuple[Item, str]] = deque()
        self._buried: set[Item] = set()
        self._reading = anyio.CancelScope()
        self.behind = 0
        """Events that waited on the server behind the last one read, whatever their owner."""

    # Taking -----------------------------------------------------------------------------------------------

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Delivery:
        """The next event; waits for one."""
        while True:
            for delivery in await self._take(1):
                return delivery
            await self._wait(None)

    async def batch(self, limit: int, within_s: float) -> list[Delivery]:
        """At most `limit` events as soon as they are there, else what is there after `within_s`, if anything.

        Of one session consecutive events. What has failed before comes alone.
        """
        until = anyio.current_time() + within_s
        limit = min(limit, self._prefetch)
        while self._bench.waiting < limit and not self._bench.alone and anyio.current_time() < until:
            await self._wait(until)
        while not (taken := await self._take(limit)) and anyio.current_time() < until:
            await self._wait(until)  # all that is there waits behind what is in hand
        return taken

    async def ack(self, batch: Collection[Delivery]) -> None:
        """All of these are done."""
        for delivery in batch:
            await delivery.ack()

    async def fail(self, batch: Collection[Delivery], reason: str) -> None:
        """None of these could be done, because of one: of each session the first is tried again, alone."""
        for delivery in batch:
            await delivery.fail(reason)

    async def _take(self, limit: int) -> list[Delivery]:
        """What may be handed out now, at most `limit`."""
        if not self._shares.valid:
            return []
        items = self._bench.take(limit, anyio.current_time())
        for item in items:
            if item.failures >= limits.MAX_DELIVERIES:
                self._give_up(item, "whoever had it ended before it was done")
        items = [item for item in items if item not in self._buried]
        try:
            await self._shares.note(items)
        except (OutcomeUnknown, Unavailable):
            for item in reversed(items):
                if self._bench.in_hand(item):
                    self._bench.put_back(item)
            return []
        return [Delivery(self, item) for item in items if self._bench.in_hand(item)]

    async def _wait(self, until: float | None) -> None:
        """Wait until something has changed or is due, or the time has come."""
        times = [anyio.current_time() + _LOOK_S, until, self._bench.next_due()]
        with anyio.CancelScope(deadline=min(time for time in times if time is not None)):
            await self._bell.wait()

    def _ring(self) -> None:
        self._bell.set()  # all who wait now go on
        self._bell.clear()

    # Settling ---------------------------------------------------------------------------------------------

    def settle(self, item: Item, handed: int) -> None:
        """See `Delivery.ack`."""
        if self._is_out(item, handed):
            self._done(item)

    def send_back(self, item: Item, handed: int, reason: str) -> None:
        """See `Delivery.fail`."""
        if not self._is_out(item, handed):
            return
        if item.failures + 1 >= limits.MAX_DELIVERIES:
            item.failures += 1
            self._give_up(item, reason)
        else:
            wait_s = min(RETRY_MOST_S, self._retry_s * 2**item.failures)
            self._bench.fail(item, anyio.current_time() + wait_s)
            self._shares.failed(item)
        self._ring()

    def give_up(self, item: Item, handed: int, reason: str) -> None:
        """See `Delivery.bury`."""
        if self._is_out(item, handed):
            item.failures += 1
            self._give_up(item, reason)

    def _is_out(self, item: Item, handed: int) -> bool:
        return item.handed == handed and item not in self._buried and self._bench.in_hand(item)

    def _done(self, item: Item) -> None:
        self._bench.settle(item)
        self._shares.settled(item)
        self._ring()

    def _give_up(self, item: Item, reason: str) -> None:
        """It goes to the dead letters; until it is there its session waits."""
        self._buried.add(item)
        self._dead.append((item, reason))
        self._shares.failed(item)
        self._ring()

    async def bury(self) -> None:
        """Make dead letters of what was given up, for ever."""
        while True:
            while not self._dead:
                await self._bell.wait()
            item, reason = self._dead.popleft()
            await bury(self._bus, self._subjects, self._name, self._stream, item, reason)
            if self._bench.in_hand(item):
                self._done(item)
            self._buried.discard(item)

    # Reading ----------------------------------------------------------------------------------------------

    def reshare(self, more: bool) -> None:
        """Shares have come, if `more`, or gone."""
        if more:
            self._reading.cancel()
        self._ring()

    async def read(self) -> None:
        """Put what is wanted on the bench, for ever."""
        wanted = self._filter.subjects(self._subjects)
        while True:
            while not self._shares.held:
                await self._bell.wait()
            with anyio.CancelScope() as self._reading:
                async with aclosing(read(self._bus, self._stream, wanted, self._shares.read_to)) as messages:
                    async for message, origin in messages:
                        await self._offer(message, origin.stream_sequence)
                        self.behind = origin.pending
                        self._shares.read_to = origin.stream_sequence

    async def _offer(self, message: Message, position: int) -> None:
        """Put an event on the bench if it is wanted and ours."""
        names = self._subjects.event_of(message.subject)
        if names is None or not self._filter.fits(*names):
            return
        session, branch, kind = names
        partition = partition_of(session, self._partitions)
        share = self._shares.held.get(partition)
        if share is None or share.leaving or not share.position.wants(position):
            return
        if self._filter.owner is not None and await self._owner(session) != self._filter.owner:
            return
        while self._bench.held >= self._prefetch:
            await self._bell.wait()
        if self._shares.held.get(partition) is not share or share.leaving:
            return
        item = Item(
            session=session,
            branch=branch,
            kind=kind,
            partition=partition,
            position=position,
            sequence=_sequence(message),
            event_id=message.headers.get("Nats-Msg-Id", ""),
            line=message.data,
            failures=share.position.take(position),
        )
        self._bench.put(item)
        self._ring()

    async def _owner(self, session: str) -> str | None:
        while True:
            try:
                return await self._owners.of(session)
            except (OutcomeUnknown, Unavailable) as error:
                log.info("subscription %s: whose is %s? %s", self._name, session, error)
            await anyio.sleep(_OWNER_S)


def _sequence(message: Message) -> int:
    """Of an event; 0 if it is none."""
    told = message.headers.get("Vagus-Sequence", "")
    if told.isascii() and told.isdigit():
        return int(told)
    try:
        return decode_record(message.data).sequence
    except Malformed:
        return 0
