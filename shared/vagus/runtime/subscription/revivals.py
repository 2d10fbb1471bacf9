"""Dead letters of a durable subscription that are handed out again.

They wait in the subscription's bucket, each under a key with its partition in it: whoever holds that puts
them on the desk, behind what is there of their session, and removes the key when they are done.
"""

import asyncio
import logging
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Final, Protocol

import anyio
import msgspec

from vagus.contract import streams
from vagus.contract.codec import decode_record, kind_token
from vagus.contract.errors import Conflict, Malformed, OutcomeUnknown, Refused, Unavailable, VagusError
from vagus.contract.messages import decode
from vagus.contract.subjects import Subjects
from vagus.contract.subscriptions import Revived, Subscribed, partition_of
from vagus.runtime.bucket import Bucket, Deleted, Entry
from vagus.runtime.bus import Bus
from vagus.runtime.subscription.bench import Bench, Item
from vagus.runtime.subscription.shares import LEAVE_S, Share

log = logging.getLogger("vagus.subscription")

_RETRY_S: Final = 1.0


async def revive(bus: Bus, subjects: Subjects, name: str, letter_id: int, position: int, line: bytes) -> None:
    """Have the subscription `name` be given an event again that it has given up; returns when that is stored.

    Of one letter that is not done yet it changes nothing.

    Args:
        bus: The connection.
        subjects: The names.
        name: Of the durable subscription.
        letter_id: Of the dead letter.
        position: Where the event stands, or stood, in the firehose.
        line: The event.

    Raises:
        Refused: There is no such subscription, it does not want this event, or this is none.
        Unavailable, OutcomeUnknown: It is perhaps not stored; trying again is safe.
    """
    bucket = Bucket(bus, subjects.named(streams.SUBSCRIPTIONS))
    entry = await bucket.get(name, fresh=True)
    if entry is None:
        raise Refused(f"there is no subscription {name} any more to give this to: drop it")
    subscribed = decode(entry.value, Subscribed)
    try:
        record = decode_record(line)
    except Malformed as error:
        raise Refused(f"cannot be given to subscription {name} again: {error}; drop it") from error
    if not subscribed.filter.fits(record.session_id, record.branch_id, kind_token(record.kind.type)):
        raise Refused(
            f"the subscription {name} of today has another filter, which does not fit this: drop it"
        )
    partition = partition_of(record.session_id, subscribed.partitions)
    value = msgspec.json.encode(Revived(position=position, event=msgspec.Raw(line)))
    try:
        await bucket.create(f"{name}.{partition}.{record.session_id}.{letter_id}", value)
    except Conflict:
        log.info("dead letter %d waits for subscription %s already", letter_id, name)


class Holding(Protocol):
    """The shares of one participant."""

    @property
    def held(self) -> Mapping[int, Share]:
        """Those that are ours, by partition."""
        ...


class Counter(Protocol):
    """Where events wait to be handed out."""

    @property
    def held(self) -> int:
        """How many are there."""
        ...

    def put(self, item: Item) -> None:
        """One more."""
        ...

    async def change(self) -> None:
        """Wait until that may be another number."""
        ...


@dataclass(slots=True)
class _Revival:
    """One that we have put on the desk."""

    item: Item
    share: Share
    revision: int
    """Of its key."""


class Revivals:
    """Those of one participant in a durable subscription.

    Args:
        bus: The connection.
        subjects: The names.
        name: Of the subscription.
        bench: Where events wait.
        shares: Which of them are ours.
        prefetch: How many may wait.
    """

    def __init__(
        self, bus: Bus, subjects: Subjects, name: str, *, bench: Bench, shares: Holding, prefetch: int
    ) -> None:
        self._bucket = Bucket(bus, subjects.named(streams.SUBSCRIPTIONS))
        self._name = name
        self._bench = bench
        self._shares = shares
        self._prefetch = prefetch
        self._waiting: set[str] = set()
        """The keys that are known, whosever they are."""
        self._here: dict[str, _Revival] = {}
        self._done: set[str] = set()
        """To be removed."""
        self._news = asyncio.Event()
        self._rest = asyncio.Event()

    def look(self) -> None:
        """Keys or shares have changed."""
        self._news.set()

    async def watch(self) -> None:
        """Learn which there are, for ever."""
        while True:
            try:
                async with self._bucket.watch(f"{self._name}.*.*.*") as changes:
                    async for change in changes:
                        if isinstance(change, Entry) and change.key not in self._here:
                            self._waiting.add(change.key)
                            self.look()
                        elif isinstance(change, Deleted):
                            self._waiting.discard(change.key)
            except (OutcomeUnknown, Unavailable) as error:
                log.info("subscription %s: %s", self._name, error)
            await anyio.sleep(_RETRY_S)

    async def offer(self, desk: Counter) -> None:
        """Put those on the desk that are ours, for ever."""
        while True:
            await self._news.wait()
            self._news.clear()
            try:
                await self._round(desk)
            except (OutcomeUnknown, Unavailable) as error:
                log.info("subscription %s: %s", self._name, error)
                await anyio.sleep(_RETRY_S)
                self.look()

    async def sweep(self) -> None:
        """Remove those that are done, for ever."""
        while True:
            await self._rest.wait()
            self._rest.clear()
            try:
                await self._remove()
            except (OutcomeUnknown, Unavailable) as error:
                log.info("subscription %s: %s", self._name, error)
                await anyio.sleep(_RETRY_S)
                self._rest.set()

    async def _remove(self) -> None:
        for key in tuple(self._done):
            await self._bucket.delete(key)
            self._done.discard(key)

    async def _round(self, desk: Counter) -> None:
        for key, here in tuple(self._here.items()):
            if self._shares.held.get(here.item.partition) is not here.share:
                del self._here[key]
        for key in sorted(self._waiting, key=_letter):
            share = self._shares.held.get(_partition(key))
            if share is not None and not share.leaving and key not in self._here and key not in self._done:
                await self._put(desk, key, share)

    async def _put(self, desk: Counter, key: str, share: Share) -> None:
        """Put one on the desk when there is room, if it is still ours and there."""
        while desk.held >= self._prefetch:
            await desk.change()
        entry = await self._bucket.get(key, fresh=True)
        if entry is None:
            self._waiting.discard(key)
            return
        try:
            item = _item(entry)
        except Malformed as error:
            log.warning("subscription %s: %s is passed over: %s", self._name, key, error)
            self._waiting.discard(key)
            return
        if self._shares.held.get(share.partition) is share and not share.leaving:
            self._here[key] = _Revival(item, share, entry.revision)
            desk.put(item)

    async def note(self, items: Collection[Item]) -> None:
        """Write down that these are tried now, so that one that kills its holders is counted.

        What another has taken meanwhile is not handed out. Raises as a bucket.
        """
        for item in items:
            here = self._here.get(item.revived)
            if here is None:
                continue  # its share was lost, and it is in hand no more
            try:
                await self._write(here, item.failures + 1)
            except Conflict:
                if self._bench.in_hand(item):
                    self._bench.settle(item)
                self._here.pop(item.revived, None)
                self.look()

    async def _write(self, here: _Revival, attempts: int) -> None:
        item = here.item
        value = Revived(position=item.position, event=msgspec.Raw(item.line), attempts=attempts)
        encoded = msgspec.json.encode(value)
        here.revision = await self._bucket.update(item.revived, encoded, here.revision)

    def settled(self, item: Item) -> None:
        """One is done."""
        self._here.pop(item.revived, None)
        self._waiting.discard(item.revived)
        self._done.add(item.revived)
        self._rest.set()

    def failed(self, item: Item) -> None:
        """One has failed once more: that was written down before it was tried."""

    async def leave(self, *, broken: bool) -> None:
        """Remove what is done; what is in hand counts as failed if we are `broken`."""
        with anyio.move_on_after(LEAVE_S, shield=True):
            try:
                await self._remove()
                for here in tuple(self._here.values()):
                    if self._bench.in_hand(here.item) and not broken:
                        await self._write(here, here.item.failures)
            except VagusError as error:
                log.info("subscription %s: %s", self._name, error)


def _item(entry: Entry) -> Item:
    """What is handed out; raises `Malformed`."""
    revived = decode(entry.value, Revived)
    line = bytes(revived.event)
    record = decode_record(line)
    if record.session_id != entry.key.split(".")[2]:
        raise Malformed("it is of another session than its key")
    return Item(
        session=record.session_id,
        branch=record.branch_id,
        kind=kind_token(record.kind.type),
        partition=_partition(entry.key),
        position=revived.position,
        sequence=record.sequence,
        event_id=record.event_id,
        line=line,
        failures=revived.attempts,
        revived=entry.key,
    )


def _partition(key: str) -> int:
    token = key.split(".")[1]
    return int(token) if token.isascii() and token.isdigit() else -1


def _letter(key: str) -> tuple[int, str]:
    """The order in which they died."""
    token = key.rpartition(".")[2]
    return int(token) if token.isascii() and token.isdigit() else 0, key
