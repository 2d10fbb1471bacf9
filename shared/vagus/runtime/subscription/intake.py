"""Reads the firehose for one participant: sifts, and puts what is wanted and ours on the desk."""

import logging
from collections.abc import Sequence
from contextlib import aclosing
from typing import Final

import anyio

from vagus.contract.codec import decode_record
from vagus.contract.erasures import is_tombstone
from vagus.contract.errors import Malformed, OutcomeUnknown, Unavailable
from vagus.contract.subjects import Subjects
from vagus.contract.subscriptions import Filter, partition_of
from vagus.runtime.bus import Bus, Message
from vagus.runtime.subscription.bench import Item
from vagus.runtime.subscription.desk import Desk, Holding
from vagus.runtime.subscription.owners import Owners
from vagus.runtime.subscription.reader import Shorter, read

log = logging.getLogger("vagus.subscription")

OWNER_S: Final = 1.0
"""Between two attempts to learn whose a session is."""


class Intake:
    """Keeps at most `prefetch` events on the desk.

    Args:
        bus: The connection.
        subjects: The names.
        filter: Which events.
        desk: Where they go.
        shares: Which of them are ours.
        partitions: Of the subscription.
        prefetch: How many may be there.
    """

    def __init__(
        self,
        bus: Bus,
        subjects: Subjects,
        filter: Filter,  # noqa: A002 -- the word for it
        *,
        desk: Desk,
        shares: Holding,
        partitions: int,
        prefetch: int,
    ) -> None:
        self._bus = bus
        self._subjects = subjects
        self._filter = filter
        self._desk = desk
        self._shares = shares
        self._partitions = partitions
        self._prefetch = prefetch
        self._owners = Owners(bus, subjects)
        self._reading = anyio.CancelScope()
        self._round = 0
        self.behind = 0
        """Events that waited on the server behind the last one read, whatever their owner."""

    def begin_anew(self) -> None:
        """Read from `Holding.read_to` on, which is another."""
        self._round += 1  # who reads may have a message already: it is too early for that one
        self._reading.cancel()

    async def run(self) -> None:
        """Read for ever."""
        stream, wanted = self._subjects.named("EVENTS"), self._filter.subjects(self._subjects)
        while True:
            while not self._shares.held:
                await self._desk.change()
            try:
                with anyio.CancelScope() as self._reading:
                    await self._read(stream, wanted)
            except Shorter as error:
                log.warning(
                    "%s ends at %d, before what was read: what comes after that is read; if it was made anew,"
                    " delete the subscription to begin anew, too",
                    stream,
                    error.last,
                )
                self._shares.set_back(error.last)

    async def _read(self, stream: str, wanted: Sequence[str]) -> None:
        """Read until that must begin anew."""
        round_ = self._round
        async with aclosing(read(self._bus, stream, wanted, self._shares.read_to)) as messages:
            async for message, origin in messages:
                if round_ == self._round:
                    await self._offer(message, origin.stream_sequence)
                if round_ != self._round:
                    return
                self.behind = origin.pending
                self._shares.read_to = origin.stream_sequence

    async def _offer(self, message: Message, position: int) -> None:
        """Put an event on the desk if it is wanted and ours, and not too early."""
        round_ = self._round
        names = self._subjects.event_of(message.subject)
        if names is None or not self._filter.fits(*names):
            return
        session, branch, kind = names
        partition = partition_of(session, self._partitions)
        share = self._shares.held.get(partition)
        if share is None or share.leaving or not share.position.wants(position):
            return
        if self._filter.owner is not None and not await self._is_of_owner(session, message):
            return
        while self._desk.held >= self._prefetch:
            await self._desk.change()
        if round_ != self._round or self._shares.held.get(partition) is not share or share.leaving:
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
            failing_since=share.position.failing_since(position),
        )
        self._desk.put(item)

    async def _is_of_owner(self, session: str, message: Message) -> bool:
        """Whether an event is of a session of the wanted owner, or might be and tells that it was erased.

        Nobody knows any more whose an erased session was, and who has kept its events must hear it.
        """
        owner = await self._owner(session)
        return owner == self._filter.owner or (owner is None and _tells_of_erasure(message))

    async def _owner(self, session: str) -> str | None:
        while True:
            try:
                return await self._owners.of(session)
            except (OutcomeUnknown, Unavailable) as error:
                log.info("whose is session %s? %s", session, error)
            await anyio.sleep(OWNER_S)


def _tells_of_erasure(message: Message) -> bool:
    try:
        return is_tombstone(decode_record(message.data))
    except Malformed:
        return False


def _sequence(message: Message) -> int:
    """Of an event; 0 if it is none."""
    told = message.headers.get("Vagus-Sequence", "")
    if told.isascii() and told.isdigit():
        return int(told)
    try:
        return decode_record(message.data).sequence
    except Malformed:
        return 0
