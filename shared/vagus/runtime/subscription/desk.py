"""Between reading and handling: what was read is put down here, handed out, and settled."""

import asyncio
import logging
from collections import deque
from collections.abc import Collection, Mapping
from typing import Final, Protocol

import anyio

from vagus.contract import limits
from vagus.contract.errors import OutcomeUnknown, Unavailable
from vagus.contract.subjects import Subjects
from vagus.runtime.bus import Bus
from vagus.runtime.subscription.bench import Bench, Item
from vagus.runtime.subscription.burial import bury
from vagus.runtime.subscription.delivery import Delivery
from vagus.runtime.subscription.shares import Share

log = logging.getLogger("vagus.subscription")

RETRY_MOST_S: Final = 60.0
"""What has failed waits so long at most."""
LOOK_S: Final = 0.5
"""How often somebody who waits looks whether the shares are still ours."""


class Record(Protocol):
    """Where is written down what becomes of events."""

    async def note(self, items: Collection[Item]) -> None:
        """These are about to be handed out."""
        ...

    def settled(self, item: Item) -> None:
        """One event is done."""
        ...

    def failed(self, item: Item) -> None:
        """One event has failed once more."""
        ...


class Holding(Record, Protocol):
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

    def set_back(self, position: int) -> None:
        """Nothing after this was looked at: it is no more."""
        ...

    def failing(self, item: Item, since: float) -> None:
        """Delivering one event has failed since then."""
        ...


class Desk:
    """Of one participant in a subscription.

    Args:
        bus: The connection.
        subjects: The names.
        name: Of the subscription, for dead letters.
        bench: Where events wait.
        shares: Whose they are.
        retry_s: Before what has failed once comes again; then twice as long each time.
        revivals: For those that were dead letters; None if there can be none.
    """

    def __init__(
        self,
        bus: Bus,
        subjects: Subjects,
        name: str,
        *,
        bench: Bench,
        shares: Holding,
        retry_s: float,
        revivals: Record | None = None,
    ) -> None:
        self._bus = bus
        self._subjects = subjects
        self._name = name
        self._bench = bench
        self._shares = shares
        self._retry_s = retry_s
        self._revivals = revivals or shares
        self._bell = asyncio.Event()
        self._dead: deque[tuple[Item, str]] = deque()
        self._dying: set[Item] = set()

    # Waiting ----------------------------------------------------------------------------------------------

    async def change(self) -> None:
        """Wait until something was put down, handed out, settled or taken away."""
        await self._bell.wait()

    async def wait(self, until: float | None) -> None:
        """As `change`; also returns when something is due, or the time has come."""
        times = [anyio.current_time() + LOOK_S, until, self._bench.next_due()]
        with anyio.CancelScope(deadline=min(time for time in times if time is not None)):
            await self._bell.wait()

    def ring(self) -> None:
        """Something has changed."""
        self._bell.set()  # all who wait now go on
        self._bell.clear()

    @property
    def held(self) -> int:
        """Events that are not settled."""
        return self._bench.held

    def has_enough(self, limit: int) -> bool:
        """Whether it is of no use to wait for more before taking `limit`."""
        return self._bench.waiting >= limit or self._bench.is_alone(anyio.current_time())

    # Handing out ------------------------------------------------------------------------------------------

    def put(self, item: Item) -> None:
        """One more event."""
        self._bench.put(item)
        self.ring()

    async def take(self, limit: int) -> list[Delivery]:
        """What may be handed out now, at most `limit`; nothing while it is not known to be ours."""
        if not self._shares.valid:
            return []
        items = self._bench.take(limit, anyio.current_time())
        for item in items:
            if item.failures >= limits.MAX_DELIVERIES:
                self._give_up(item, "whoever had it ended before it was done")
        items = [item for item in items if item not in self._dying]
        try:
            await self._shares.note([item for item in items if not item.revived])
            await self._revivals.note([item for item in items if item.revived])
        except (OutcomeUnknown, Unavailable) as error:
            log.info("subscription %s hands out nothing: %s", self._name, error)
            for item in reversed(items):
                if self._bench.in_hand(item):
                    self._bench.put_back(item)
            return []
        return [Delivery(self, item) for item in items if self._bench.in_hand(item)]

    # Settling ---------------------------------------------------------------------------------------------

    def settle(self, item: Item, handed: int) -> None:
        """It is done, if it is still out as it was `handed` out."""
        if self._is_out(item, handed):
            self._done(item)

    def send_back(self, item: Item, handed: int, reason: str) -> None:
        """It could not be done, if it is still out as it was `handed` out."""
        if not self._is_out(item, handed):
            return
        if item.failures + 1 >= limits.MAX_DELIVERIES:
            item.failures += 1
            self._give_up(item, reason)
        else:
            wait_s = min(RETRY_MOST_S, self._retry_s * 2**item.failures)
            self._bench.fail(item, anyio.current_time() + wait_s)
            self._record(item).failed(item)
        self.ring()

    def failing(self, item: Item, handed: int, since: float) -> None:
        """Have it noted since when delivering it has failed, if it is still out as it was `handed` out."""
        if self._is_out(item, handed):
            item.failing_since = since
            self._shares.failing(item, since)

    def give_up(self, item: Item, handed: int, reason: str) -> None:
        """It can never be done, if it is still out as it was `handed` out."""
        if self._is_out(item, handed):
            item.failures += 1
            self._give_up(item, reason)

    def _is_out(self, item: Item, handed: int) -> bool:
        return item.handed == handed and item not in self._dying and self._bench.in_hand(item)

    def _done(self, item: Item) -> None:
        self._bench.settle(item)
        self._record(item).settled(item)
        self.ring()

    def _give_up(self, item: Item, reason: str) -> None:
        """It goes to the dead letters; until it is there its session waits."""
        self._dying.add(item)
        self._dead.append((item, reason))
        self._record(item).failed(item)
        self.ring()

    def _record(self, item: Item) -> Record:
        return self._revivals if item.revived else self._shares

    async def bury(self) -> None:
        """Make dead letters of what was given up, for ever."""
        while True:
            while not self._dead:
                await self.change()
            item, reason = self._dead.popleft()
            await bury(self._bus, self._subjects, self._name, item, reason)
            if self._bench.in_hand(item):
                self._done(item)
            self._dying.discard(item)
