"""What a durable subscription has given up is handed to it again when somebody retries its dead letter."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import anyio
import msgspec
import pytest

import vagus
from tests.kit.broker import Broker
from tests.kit.command_line import run
from tests.kit.firehose import Firehose
from tests.kit.outage import back, outage
from tests.kit.waiting import eventually
from vagus.contract import limits, streams
from vagus.contract.codec import encode_record
from vagus.contract.erasures import traces
from vagus.contract.errors import Refused, Unavailable
from vagus.contract.events import EventRecord
from vagus.contract.subjects import Subjects
from vagus.contract.subscriptions import Filter, Revived, partition_of
from vagus.runtime.bucket import Bucket
from vagus.runtime.bus import Bus, connect
from vagus.runtime.embedded import EmbeddedServer
from vagus.runtime.subscription import Delivery, Subscription, subscribe
from vagus.sdk.client import Client
from vagus.sdk.deadletters import DeadLetters

ALL = Filter()
QUICK = 0.01
"""Before what has failed comes again."""


class Desk:
    """A subscription `d`, of which events become dead letters."""

    def __init__(self, bus: Bus, subjects: Subjects, client: Client) -> None:
        self.bus = bus
        self.subjects = subjects
        self.client = client
        self.firehose = Firehose(bus, subjects)
        self.bucket = Bucket(bus, subjects.named(streams.SUBSCRIPTIONS))

    @asynccontextmanager
    async def open(self, durable: str | None = "d", prefetch: int = 100) -> AsyncIterator[Subscription]:
        async with subscribe(
            self.bus, self.subjects, ALL, durable=durable, retry_s=QUICK, prefetch=prefetch
        ) as subscription:
            yield subscription

    async def give_up(self, session: str = "a", durable: str | None = "d") -> EventRecord:
        """The next event of a session becomes a dead letter."""
        record = await self.firehose.put(session)
        async with self.open(durable) as subscription:
            while (delivery := await following(subscription)).event_id != record.event_id:
                await delivery.ack()
            await delivery.bury("no")
            await self.letters(1)
        return record

    async def letters(self, count: int) -> list[vagus.DeadLetter]:
        """The dead letters, when there are so many."""

        async def found() -> list[vagus.DeadLetter]:
            there = await self.client.dead_letters()
            assert len(there) == count
            return there

        return await eventually(found) if count else await self.client.dead_letters()

    async def retry(self) -> vagus.DeadLetter:
        """The one that there is, retried."""
        (letter,) = await self.letters(1)
        again = await self.client.retry(letter.id)
        assert await self.client.dead_letters() == []
        return again

    async def waiting(self) -> list[str]:
        """What waits to be handed out again."""
        return await self.bucket.keys("d.*.*.*")

    async def none_waits(self) -> bool:
        return not await self.waiting()


@pytest.fixture
async def desk(bus: Bus, subjects: Subjects) -> AsyncIterator[Desk]:
    async with Client.over(bus, subjects) as client:
        made = Desk(bus, subjects, client)
        await made.firehose.make()
        yield made


async def following(subscription: Subscription) -> Delivery:
    with anyio.fail_after(30):
        return await anext(subscription)


async def silent(subscription: Subscription) -> bool:
    """Whether nothing comes for a moment."""
    with anyio.move_on_after(0.15):
        await anext(subscription)
        return False
    return True


async def silently(subscription: Subscription) -> None:
    """Ask for what never comes."""
    delivery = await anext(subscription)
    raise AssertionError(f"{delivery} was handed out")


async def test_a_retried_letter_goes_to_its_subscription_and_to_no_other(desk: Desk) -> None:
    record = await desk.give_up()
    async with desk.open() as subscription, desk.open("e") as other, desk.open(None) as alone:
        for reader in (other, alone):
            first = await following(reader)
            assert not first.retried
            await first.ack()
        again = await desk.retry()
        assert (again.subscription, again.subject) == ("d", None)
        delivery = await following(subscription)
        assert (delivery.event, delivery.line) == (record, encode_record(record))
        assert (delivery.session_id, delivery.branch_id, delivery.sequence) == ("a", "main", 1)
        assert (delivery.kind, delivery.event_id, delivery.attempt) == ("UserMessage", "a-main-1", 1)
        assert (delivery.retried, delivery.cursor) == (True, vagus.Cursor(1))
        await delivery.ack()
        await eventually(desk.none_waits)
        assert await silent(subscription)
        assert await silent(other)
        assert await silent(alone)
    async with desk.open() as subscription:
        assert await silent(subscription)


async def test_it_waits_for_somebody_who_subscribes_also_when_the_firehose_has_forgotten_it(
    desk: Desk,
) -> None:
    await desk.give_up()
    await desk.bus.api(f"STREAM.PURGE.{desk.subjects.named('EVENTS')}")
    await desk.retry()
    (status,) = await desk.client.subscriptions()
    assert (status.waiting, status.open, status.failing) == (0, 1, 0)
    async with desk.open() as subscription:
        await (await following(subscription)).ack()
    assert await desk.waiting() == []


async def test_it_comes_when_nothing_of_its_session_is_in_hand(desk: Desk) -> None:
    await desk.give_up()
    second, third = await desk.firehose.put("a"), await desk.firehose.put("a")
    async with desk.open() as subscription:
        held = await following(subscription)
        assert held.event_id == second.event_id
        await desk.retry()
        assert await silent(subscription)
        await held.ack()
        rest = [await following(subscription)]
        assert await silent(subscription)
        await rest[0].ack()
        rest.append(await following(subscription))
        assert {delivery.event_id for delivery in rest} == {"a-main-1", third.event_id}


async def test_what_fails_again_is_a_dead_letter_again_and_can_be_retried_again(desk: Desk) -> None:
    await desk.give_up()
    await desk.firehose.put("a")
    async with desk.open() as subscription:
        await (await following(subscription)).ack()
        first = await desk.retry()
        for attempt in (1, 2, 3, 4, 5):
            delivery = await following(subscription)
            assert delivery.attempt == attempt
            await delivery.fail("still not")
        (second,) = await desk.letters(1)
        assert second.id > first.id
        assert (second.origin, second.deliveries, second.reason) == (
            first.origin,
            5,
            "subscription d: still not",
        )
        await eventually(desk.none_waits)
        await desk.retry()
        delivery = await following(subscription)
        assert (delivery.event_id, delivery.attempt) == ("a-main-1", 1)
        await delivery.ack()
        await eventually(desk.none_waits)


async def test_failures_are_remembered_and_what_was_put_down_in_good_order_is_none(desk: Desk) -> None:
    await desk.give_up()
    await desk.retry()
    for attempt in (1, 2, 3):
        async with desk.open() as subscription:
            delivery = await following(subscription)
            assert delivery.attempt == attempt
            await delivery.fail("not now")
    for _ in range(3):
        async with desk.open() as subscription:
            assert (await following(subscription)).attempt == 4


async def test_what_kills_its_holders_becomes_a_dead_letter_again(desk: Desk) -> None:
    """What a holder that is killed leaves is what stood there while it had the event in hand."""
    await desk.give_up()
    await desk.retry()
    for _ in range(5):
        async with desk.open() as subscription:
            await following(subscription)
            as_it_died = await desk.bucket.entries("d.>")
        for entry in as_it_died:
            await desk.bucket.put(entry.key, entry.value)
    async with desk.open() as subscription, anyio.create_task_group() as group:
        group.start_soon(silently, subscription)
        (letter,) = await desk.letters(1)
        assert letter.reason.endswith("whoever had it ended before it was done")
        group.cancel_scope.cancel()


async def test_those_who_share_a_subscription_are_given_what_is_of_their_sessions(desk: Desk) -> None:
    sessions = [f"s{number}" for number in range(20)]
    async with desk.open() as subscription:
        for session in sessions:
            await desk.firehose.put(session)
            await (await following(subscription)).bury("no")
        letters = await desk.letters(len(sessions))
    taken: dict[str, list[Delivery]] = {"one": [], "two": []}

    async def work(name: str) -> None:
        async with desk.open() as subscription:
            async for delivery in subscription:
                taken[name].append(delivery)
                await delivery.ack()

    async def both_work() -> bool:
        for deliveries in taken.values():
            deliveries.clear()
        for session in sessions:
            await desk.firehose.put(session)
        await eventually(lambda: sum(map(len, taken.values())) == len(sessions))
        return all(len(deliveries) > 2 for deliveries in taken.values())

    async with anyio.create_task_group() as group:
        for name in taken:
            group.start_soon(work, name)
        await eventually(both_work)
        owned = {name: {delivery.session_id for delivery in taken[name]} for name in taken}
        for letter in letters:
            await desk.client.retry(letter.id)
        await eventually(lambda: sum(map(len, taken.values())) >= 2 * len(sessions))
        await eventually(desk.none_waits)
        again = {name: [each.session_id for each in taken[name] if each.sequence == 1] for name in taken}
        assert sorted(again["one"] + again["two"]) == sorted(sessions)
        assert {name: set(found) for name, found in again.items()} == owned
        group.cancel_scope.cancel()


async def test_a_retry_that_is_broken_off_is_safe_to_repeat(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    await desk.give_up()
    (letter,) = await desk.letters(1)

    async def lose(*_: object) -> bool:
        raise Unavailable("no answer")

    with monkeypatch.context() as patch:
        patch.setattr(DeadLetters, "_remove", lose)
        with pytest.raises(Unavailable):
            await desk.client.retry(letter.id)
    assert await desk.letters(1) == [letter]
    await desk.retry()
    async with desk.open() as subscription:
        await (await following(subscription)).ack()
        assert await silent(subscription)


async def test_a_letter_that_its_subscription_cannot_be_given_is_refused_and_stays(desk: Desk) -> None:
    await desk.give_up()
    (letter,) = await desk.letters(1)
    await desk.client.unsubscribe("d")
    with pytest.raises(Refused, match="no subscription d any more"):
        await desk.client.retry(letter.id)
    async with subscribe(desk.bus, desk.subjects, Filter(sessions=("b",)), durable="d"):
        pass
    with pytest.raises(Refused, match="another filter"):
        await desk.client.retry(letter.id)
    assert await desk.letters(1) == [letter]
    await desk.client.drop(letter.id)
    await desk.give_up(durable=None)
    (unnamed,) = await desk.letters(1)
    assert unnamed.subscription is None
    with pytest.raises(Refused, match="without a name"):
        await desk.client.retry(unnamed.id)
    await desk.client.drop(unnamed.id)
    for msg_id in ("d.X.1", "no name.X.1"):
        await desk.bus.store(desk.subjects.dead("subscription.a"), b"{}", msg_id=msg_id)
        (odd,) = await desk.letters(1)
        with pytest.raises(Refused):
            await desk.client.retry(odd.id)
        await desk.client.drop(odd.id)


async def test_who_deletes_a_subscription_deletes_what_waits_for_it(desk: Desk) -> None:
    await desk.give_up()
    await desk.retry()
    assert len(await desk.waiting()) == 1
    await desk.client.unsubscribe("d")
    assert await desk.bucket.keys("d.>") == []


async def test_an_erasure_of_its_session_takes_it_and_no_other(desk: Desk) -> None:
    for session in ("a", "b"):
        await desk.give_up(session)
        await desk.retry()
    for trace in traces(desk.subjects, "a"):
        if trace.stream.endswith(f"_{streams.SUBSCRIPTIONS}"):
            await desk.bus.api(f"STREAM.PURGE.{trace.stream}", {"filter": trace.filter})
    assert [key.split(".")[2] for key in await desk.waiting()] == ["b"]


async def test_what_somebody_else_wrote_there_is_passed_over(
    desk: Desk, caplog: pytest.LogCaptureFixture
) -> None:
    await desk.give_up()
    place = f"d.{partition_of('a', limits.SUBSCRIPTION_PARTITIONS)}"
    event = await desk.firehose.put("b")
    theirs = msgspec.json.encode(Revived(position=1, event=msgspec.Raw(encode_record(event))))
    odd = {f"{place}.a.97": b"x", f"{place}.a.98": b'{"position":1,"event":{}}', f"{place}.a.99": theirs}
    for key, value in {**odd, "d.x.a.99": theirs}.items():
        await desk.bucket.put(key, value)
    async with desk.open() as subscription:
        assert (await following(subscription)).sequence == 1
        await desk.retry()
        assert (await following(subscription)).event_id == "a-main-1"
        await eventually(lambda: all(f"{key} is passed over" in caplog.text for key in odd))


async def test_no_more_than_may_wait_are_put_down_at_once(desk: Desk) -> None:
    async with desk.open() as subscription:
        for number in range(5):
            await desk.firehose.put(f"s{number}")
            await (await following(subscription)).bury("no")
        letters = await desk.letters(5)
    for letter in letters:
        await desk.client.retry(letter.id)
    async with desk.open(prefetch=2) as subscription:
        held = [await following(subscription), await following(subscription)]
        assert await silent(subscription)
        await subscription.ack(held)
        rest = [await following(subscription)]
        await rest[0].ack()
        rest += [await following(subscription), await following(subscription)]
        await subscription.ack(rest[1:])
        assert len({delivery.event_id for delivery in held + rest}) == 5


async def test_it_is_handed_out_after_a_restart_of_the_server(
    own_broker: EmbeddedServer, own_bus: Bus, subjects: Subjects
) -> None:
    async with connect(own_broker.url, name="reader") as reader, Client.over(own_bus, subjects) as client:
        desk = Desk(own_bus, subjects, client)
        await desk.firehose.make()
        await desk.give_up()
        async with subscribe(reader, subjects, ALL, durable="d") as subscription:
            await outage(own_broker, own_bus, crash=True)
            await back(own_broker, own_bus)
            await desk.retry()
            await (await following(subscription)).ack()
            await eventually(desk.none_waits)


async def test_the_command_line_retries_it(
    desk: Desk, broker: Broker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("VAGUS_SERVER", broker.url)
    monkeypatch.setenv("VAGUS_ROOT_SUBJECT", desk.subjects.root)
    await desk.give_up()
    (listed,) = (await run("dead", "list", "--json")).json
    assert (listed["subscription"], listed["subject"]) == ("d", None)
    assert "subscription d" in (await run("dead", "show", str(listed["id"]))).out
    retried = await run("dead", "retry", str(listed["id"]))
    assert (retried.code, retried.out) == (0, f"sent again: {listed['id']} to subscription d\n")
    async with desk.open() as subscription:
        assert (await following(subscription)).event_id == "a-main-1"
