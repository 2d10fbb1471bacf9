"""The durable subscriptions that there are: how far each is, and removing one."""

from collections.abc import Collection

import msgspec

from vagus.contract import streams
from vagus.contract.errors import NotFound, Refused
from vagus.contract.ids import check_id
from vagus.contract.messages import decode
from vagus.contract.subjects import Subjects
from vagus.contract.subscriptions import Checkpoint, Filter, Revived, Subscribed
from vagus.runtime.bucket import Bucket
from vagus.runtime.bus import Bus
from vagus.runtime.subscription.reader import place


class SubscriptionStatus(msgspec.Struct, frozen=True, kw_only=True):
    """A durable subscription."""

    name: str
    filter: Filter
    created_at: str
    subscribers: int
    """Programs that take part now."""
    waiting: int
    """Events that fit, but for the owner, and have not been read by all."""
    open: int
    """Events that were read, or were dead letters, and are not done."""
    failing: int
    """Of these, those that have failed; of former dead letters, those that were tried."""


class Subscriptions:
    """Those of one installation."""

    def __init__(self, *, bus: Bus, subjects: Subjects) -> None:
        self._bus = bus
        self._bucket = Bucket(bus, subjects.named(streams.SUBSCRIPTIONS))
        self._members = Bucket(bus, subjects.named(streams.MEMBERS))
        self._subjects = subjects

    async def all(self) -> list[SubscriptionStatus]:
        """All of them, by name; raises `Unavailable`."""
        entries = {entry.key: entry.value for entry in await self._bucket.entries()}
        names = sorted(key for key in entries if "." not in key)
        return [await self._status(name, entries) for name in names]

    async def remove(self, name: str) -> None:
        """Forget one for good.

        Raises:
            NotFound: There is none.
            Refused: Somebody takes part in it.
        """
        if await self._bucket.get(check_id("durable name", name), fresh=True) is None:
            raise NotFound(f"no subscription {name}")
        if count := await self._subscribers(name):
            raise Refused(f"{count} programs take part in the subscription {name}: end them first")
        await self._bucket.delete(name)
        for key in await self._bucket.keys(f"{name}.>"):
            await self._bucket.delete(key)

    async def _status(self, name: str, entries: dict[str, bytes]) -> SubscriptionStatus:
        subscribed = decode(entries[name], Subscribed)
        shares = [
            decode(entries[key], Checkpoint) if key in entries else Checkpoint(position=subscribed.after)
            for key in (f"{name}.{partition}" for partition in range(subscribed.partitions))
        ]
        wanted = subscribed.filter.subjects(self._subjects)
        start = slowest(shares) + 1
        there = await place(self._bus, self._subjects.named("EVENTS"), wanted, opt_start_seq=start)
        failures = [count for share in shares for count in share.open.values()]
        failures += [
            decode(value, Revived).attempts
            for key, value in entries.items()
            if key.startswith(f"{name}.") and key.count(".") == 3
        ]
        return SubscriptionStatus(
            name=name,
            filter=subscribed.filter,
            created_at=subscribed.created_at,
            subscribers=await self._subscribers(name),
            waiting=there.waiting,
            open=len(failures),
            failing=sum(count > 0 for count in failures),
        )

    async def _subscribers(self, name: str) -> int:
        return len(await self._members.keys(f"subscriber.{name}.*"))


def slowest(shares: Collection[Checkpoint]) -> int:
    """Up to where all have read. A holder reads for all its shares, and writes idle ones later."""
    furthest: dict[str, int] = {}
    for share in shares:
        if share.holder is not None:
            furthest[share.holder] = max(furthest.get(share.holder, 0), share.position)
    return min(furthest[share.holder] if share.holder else share.position for share in shares)
