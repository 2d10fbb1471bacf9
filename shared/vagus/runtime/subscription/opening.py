"""Opening a subscription: where it begins, what it is held to, who takes part."""

import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import datetime
from typing import Final, Literal, TypeAlias

import msgspec

from vagus.contract import limits, streams
from vagus.contract.clock import format_ns
from vagus.contract.errors import Conflict, Malformed, SettingsError
from vagus.contract.ids import check_id
from vagus.contract.messages import decode
from vagus.contract.subjects import Subjects
from vagus.contract.subscriptions import Cursor, Filter, Subscribed
from vagus.runtime import clock
from vagus.runtime.beside import beside
from vagus.runtime.bucket import Bucket
from vagus.runtime.bus import Bus
from vagus.runtime.members import Lease, members
from vagus.runtime.subscription.alone import Alone
from vagus.runtime.subscription.bench import Bench
from vagus.runtime.subscription.desk import Desk
from vagus.runtime.subscription.intake import Intake
from vagus.runtime.subscription.reader import place
from vagus.runtime.subscription.revivals import Revivals
from vagus.runtime.subscription.shares import Shares
from vagus.runtime.subscription.subscription import Subscription

Start: TypeAlias = Literal["first", "new"] | datetime | Cursor
"""With the oldest event there is, with the next one, at a time (with a time zone), after a place."""

RETRY_S: Final = 1.0
"""Before what has failed once comes again; then twice as long each time."""
UNNAMED: Final = "-"
"""What dead letters name instead of a durable name."""


@asynccontextmanager
async def subscribe(
    bus: Bus,
    subjects: Subjects,
    filter: Filter,  # noqa: A002 -- the word for it
    *,
    durable: str | None = None,
    start: Start = "first",
    prefetch: int = limits.PREFETCH,
    retry_s: float = RETRY_S,
) -> AsyncIterator[Subscription]:
    """Events that fit `filter`, of all sessions: those stored, then live, while the block lasts.

    Args:
        bus: The connection.
        subjects: The names.
        filter: Which events.
        durable: The name under which it is written down how far this has come. All who subscribe with the
            same name share the work: each session belongs to one of them at a time. None: nothing is
            written down or shared.
        start: Where to begin; a durable subscription that exists goes on where it was.
        prefetch: How many events wait here, or are handed out, at most.
        retry_s: Before an event that has failed comes again; then twice as long each time.

    Raises:
        SettingsError: The durable subscription exists with another filter.
        Unavailable: No answer, or there is no firehose.
        InvalidId: The durable name is not one.
        Malformed: The start is none.
    """
    if durable is None:
        alone = Alone(await beginning(bus, subjects, filter, start))
        desk = Desk(bus, subjects, UNNAMED, bench=Bench(), shares=alone, retry_s=retry_s)
        intake = Intake(bus, subjects, filter, desk=desk, shares=alone, partitions=1, prefetch=prefetch)
        async with beside(intake.run, desk.bury):
            yield Subscription(desk, intake, prefetch)
        return
    subscribed = await _declared(bus, subjects, check_id("durable name", durable), filter, start)
    me = f"subscriber.{durable}.{secrets.token_hex(6)}"
    async with Lease(bus, subjects, me), members(bus, subjects, f"subscriber.{durable}.*") as view:
        bench = Bench()
        shares = Shares(bus, subjects, durable, subscribed, me=me, view=view, bench=bench)
        revivals = Revivals(bus, subjects, durable, bench=bench, shares=shares, prefetch=prefetch)
        desk = Desk(bus, subjects, durable, bench=bench, shares=shares, retry_s=retry_s, revivals=revivals)
        intake = Intake(
            bus,
            subjects,
            filter,
            desk=desk,
            shares=shares,
            partitions=subscribed.partitions,
            prefetch=prefetch,
        )

        def changed() -> None:
            desk.ring()
            revivals.look()

        async def revive() -> None:
            await revivals.offer(desk)

        shares.on_change(changed, intake.begin_anew)
        failure: Exception | None = None
        try:
            async with beside(shares.run, intake.run, desk.bury, revivals.watch, revive, revivals.sweep):
                yield Subscription(desk, intake, prefetch)
        except Exception as error:  # raised below, as it is, not in the group of those who watch members
            failure = error
        finally:
            await revivals.leave(broken=failure is not None)  # first: what is in hand is still ours
            await shares.leave(broken=failure is not None)
    if failure is not None:
        raise failure


async def beginning(bus: Bus, subjects: Subjects, filter: Filter, start: Start) -> int:  # noqa: A002
    """The sequence of the firehose after which a subscription begins; raises as `subscribe`."""
    if isinstance(start, Cursor):
        return start.position
    stream, wanted = subjects.named("EVENTS"), filter.subjects(subjects)
    if isinstance(start, datetime):
        if start.tzinfo is None:
            raise Malformed(f"{start} has no time zone: use datetime.now(UTC), or another aware time")
        since = format_ns(round(start.timestamp() * 1_000_000) * 1000)
        return (await place(bus, stream, wanted, "by_start_time", opt_start_time=since)).after
    if start not in ("first", "new"):
        raise Malformed(f"{start!r} is no start: use 'first', 'new', an aware datetime or a Cursor")
    return (await place(bus, stream, wanted, "all" if start == "first" else "new")).after


async def _declared(
    bus: Bus,
    subjects: Subjects,
    name: str,
    filter: Filter,  # noqa: A002
    start: Start,
) -> Subscribed:
    """The durable subscription, made if there is none."""
    bucket = Bucket(bus, subjects.named(streams.SUBSCRIPTIONS))
    entry = await bucket.get(name, fresh=True)
    if entry is None:
        made = Subscribed(
            filter=filter,
            partitions=limits.SUBSCRIPTION_PARTITIONS,
            after=await beginning(bus, subjects, filter, start),
            created_at=clock.now(),
        )
        try:
            await bucket.create(name, msgspec.json.encode(made))
            return made
        except Conflict:
            entry = await bucket.get(name, fresh=True)
    if entry is None:
        raise Conflict(f"the subscription {name} was removed just now: try again")
    found = decode(entry.value, Subscribed)
    if found.filter != filter:
        raise SettingsError(
            f"the subscription {name} exists with another filter,"
            f" {msgspec.json.encode(found.filter).decode()}: use that one, or delete it"
        )
    return found
