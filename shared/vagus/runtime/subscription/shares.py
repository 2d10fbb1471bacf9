"""The shares of a durable subscription that are ours: taken, written down, handed over.

Sessions are spread over partitions, and each partition has one holder at a time, named in its checkpoint,
which is only ever written with compare-and-set: who has lost a share learns so at the next write. Who leaves
or is to hand a share over puts it down when nothing of it is in hand; a share of a dead holder is taken.
"""

import logging
from collections.abc import Callable, Collection, Mapping
from typing import Final

import anyio
import msgspec

from vagus.contract import limits, streams
from vagus.contract.errors import Conflict, NotFound, OutcomeUnknown, Unavailable, VagusError
from vagus.contract.messages import decode
from vagus.contract.subjects import Subjects
from vagus.contract.subscriptions import Checkpoint, Subscribed
from vagus.runtime.bucket import Bucket, Entry
from vagus.runtime.bus import Bus
from vagus.runtime.members import Members, owned
from vagus.runtime.subscription.bench import Bench, Item
from vagus.runtime.subscription.position import Position

log = logging.getLogger("vagus.subscription")

VALID_S: Final = limits.MEMBER_LEASE_S - limits.MEMBER_RENEW_S
"""How long the server's word holds: when our lease has ended others take over."""
HAND_OVER_S: Final = 0.2
"""How often a share that is on its way from one to another is looked at."""
LATE_S: Final = 10.0
"""How often a share is written of which nothing was done: others' events have passed."""
SUSPECTS: Final = 100
"""Of a share whose holder has died, so many events are noted before they are handed out. What has killed it
may stand later: then it kills again, but with every death the share has come so much nearer."""
LEAVE_S: Final = 2.0
"""What putting all shares down may take."""


class Share:
    """One partition that is ours."""

    def __init__(self, partition: int, position: Position, revision: int, suspect: int) -> None:
        self.partition = partition
        self.position = position
        self.revision = revision
        self.suspect = suspect
        """So many events are noted before they are handed out: one may have killed the last holder."""
        self.changed = False
        self.leaving = False
        self.written_at = anyio.current_time()


class Shares:
    """Those of one participant in a durable subscription.

    Args:
        bus: The connection.
        subjects: The names.
        name: Of the subscription.
        me: The key of our lease.
        view: Who takes part.
        bench: What has been read.
    """

    def __init__(
        self,
        bus: Bus,
        subjects: Subjects,
        name: str,
        subscribed: Subscribed,
        *,
        me: str,
        view: Members,
        bench: Bench,
    ) -> None:
        self._bucket = Bucket(bus, subjects.named(streams.SUBSCRIPTIONS))
        self._name = name
        self._subscribed = subscribed
        self._me = me
        self._view = view
        self._bench = bench
        self._changed: Callable[[], None] = _nothing
        self._come: Callable[[], None] = _nothing
        self._shares: dict[int, Share] = {}
        self._valid_until = 0.0
        self._wanting = False
        self.read_to = subscribed.after
        """All events up to here were looked at, for every share."""

    def on_change(self, changed: Callable[[], None], come: Callable[[], None]) -> None:
        """Call `changed` when shares have come or gone, and `come` when reading must begin anew for it."""
        self._changed, self._come = changed, come

    @property
    def held(self) -> Mapping[int, Share]:
        """By partition."""
        return self._shares

    @property
    def valid(self) -> bool:
        """Whether what is ours is known to be; else nothing may be handed out."""
        return anyio.current_time() < self._valid_until

    async def run(self) -> None:
        """Take and give, for ever; raises `NotFound` when the subscription was removed."""
        pause_s = HAND_OVER_S
        while True:
            try:
                await self._round()
            except (OutcomeUnknown, Unavailable) as error:
                log.info("subscription %s: %s", self._name, error)
            pause_s = min(2 * pause_s, limits.CHECKPOINT_S) if self._wanting else HAND_OVER_S
            with anyio.move_on_after(pause_s if self._wanting else limits.CHECKPOINT_S):
                await self._view.changed()

    async def _round(self) -> None:
        began = anyio.current_time()
        if await self._bucket.get(self._name, fresh=True) is None:
            raise NotFound(f"the subscription {self._name} was removed")
        wanted = owned(self._subscribed.partitions, self._me, self._view.live)
        doubtful = not self.valid  # perhaps we stood still, and others have taken what was ours
        for share in tuple(self._shares.values()):
            if share.partition not in wanted and not share.leaving:
                share.position.passed(self.read_to)  # what comes from now on is for whoever has it next
                share.leaving = True
                self._bench.drop(share.partition, keep_hand=True)
            if share.leaving and not self._bench.hand_of(share.partition):
                await self._put_down(share)
            elif doubtful or share.changed or anyio.current_time() - share.written_at > LATE_S:
                await self.write(share)
        found = await self._take(wanted - self._shares.keys())
        self._wanting = (self._shares.keys() | found.keys()) != wanted
        self._valid_until = began + VALID_S
        if found:
            self._add(found)

    def _add(self, found: Mapping[int, Share]) -> None:
        """Shares are ours from now on; reading begins anew where the first of all is."""
        for share in self._staying():
            share.position.passed(self.read_to)
        self._shares.update(found)
        self.read_to = min(share.position.floor for share in self._staying())
        self._come()
        self._changed()

    def _staying(self) -> list[Share]:
        return [share for share in self._shares.values() if not share.leaving]

    async def _take(self, partitions: Collection[int]) -> dict[int, Share]:
        """Of these shares, those that nobody holds who lives."""
        if not partitions:
            return {}
        entries = {entry.key: entry for entry in await self._bucket.entries(f"{self._name}.*")}
        taken = [
            await self._take_one(partition, entries.get(self._key(partition)))
            for partition in sorted(partitions)
        ]
        return {share.partition: share for share in taken if share is not None}

    async def _take_one(self, partition: int, entry: Entry | None) -> Share | None:
        key = self._key(partition)
        old = (
            Checkpoint(position=self._subscribed.after) if entry is None else decode(entry.value, Checkpoint)
        )
        died = old.holder not in (None, self._me)
        if died and old.holder in self._view.live:
            return None
        mine = msgspec.json.encode(msgspec.structs.replace(old, holder=self._me))
        try:
            if entry is None:
                revision = await self._bucket.create(key, mine)
            else:
                revision = await self._bucket.update(key, mine, entry.revision)
        except Conflict:
            return None
        if died:
            log.warning(
                "subscription %s: %s is gone, share %d goes on here", self._name, old.holder, partition
            )
        position = Position(old, anyio.current_time())
        return Share(partition, position, revision, SUSPECTS if died else 0)

    async def write(self, share: Share) -> bool:
        """Write down how far a share is; False: it is ours no more. Raises as a bucket."""
        share.changed = False
        return await self._store(share, self._me)

    async def _put_down(self, share: Share) -> None:
        """Nothing of it is in hand: let others take it."""
        await self._store(share, None)
        self._lose(share)

    async def _store(self, share: Share, holder: str | None) -> bool:
        if not share.leaving and share.position.passed(self.read_to):
            log.warning(
                "subscription %s: events were dropped by the server before they were done", self._name
            )
        share.written_at = anyio.current_time()
        checkpoint = share.position.checkpoint(holder, share.written_at)
        key, value = self._key(share.partition), msgspec.json.encode(checkpoint)
        try:
            share.revision = await self._bucket.update(key, value, share.revision)
        except Conflict:
            return await self._settle(share, value)
        except (OutcomeUnknown, Unavailable):
            share.changed = True
            raise
        return True

    async def _settle(self, share: Share, value: bytes) -> bool:
        """Another has written: perhaps we, with an answer that was lost."""
        entry = await self._bucket.get(self._key(share.partition), fresh=True)
        if entry is not None and decode(entry.value, Checkpoint).holder == self._me:
            share.revision = await self._bucket.update(entry.key, value, entry.revision)
            return True
        if entry is not None and entry.value == value:  # our last word
            return True
        log.warning("subscription %s: share %d was taken by another", self._name, share.partition)
        self._lose(share)
        return False

    def _lose(self, share: Share) -> None:
        self._shares.pop(share.partition, None)
        self._bench.drop(share.partition)
        self._changed()

    def set_back(self, position: int) -> None:
        """Nothing after this was looked at: it is no more."""
        for share in self._shares.values():
            share.position.set_back(position)
        self.read_to = min(self.read_to, position)

    async def note(self, items: Collection[Item]) -> None:
        """Write down, where the last holder has died, that these are tried now: it may be because of one."""
        for share in {self._shares[item.partition] for item in items if item.partition in self._shares}:
            if share.suspect:
                for item in items:
                    if item.partition == share.partition:
                        share.position.failed(item.position, item.failures + 1)
                await self.write(share)

    def settled(self, item: Item) -> None:
        """One event is done."""
        share = self._shares.get(item.partition)
        if share is not None:
            share.position.settle(item.position)
            share.suspect = max(0, share.suspect - 1)
            share.changed = True

    def failed(self, item: Item) -> None:
        """One event has failed once more."""
        share = self._shares.get(item.partition)
        if share is not None:
            share.position.failed(item.position, item.failures)
            share.changed = True

    def failing(self, item: Item, since: float) -> None:
        """Delivering one event has failed since then."""
        share = self._shares.get(item.partition)
        if share is not None:
            share.position.failing(item.position, since)
            share.changed = True

    async def leave(self, *, broken: bool) -> None:
        """Put everything down; what is in hand counts as failed if we are `broken`."""
        with anyio.move_on_after(LEAVE_S, shield=True):
            for share in tuple(self._shares.values()):
                for item in self._bench.hand_of(share.partition):
                    if not item.revived:
                        share.position.failed(item.position, item.failures + broken)
                try:
                    await self._put_down(share)
                except VagusError as error:
                    log.info("subscription %s: share %d: %s", self._name, share.partition, error)

    def _key(self, partition: int) -> str:
        return f"{self._name}.{partition}"


def _nothing() -> None:
    """Nobody listens yet."""
