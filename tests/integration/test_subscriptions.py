"""Subscriptions to the events of all sessions."""

import time
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta

import anyio
import msgspec
import pytest

import vagus
from tests.kit.events import records
from tests.kit.firehose import Firehose
from tests.kit.outage import back, outage
from tests.kit.waiting import eventually
from vagus.contract import limits, streams
from vagus.contract.codec import encode_record, seal
from vagus.contract.errors import InvalidId, Malformed, NotFound, SettingsError, Unavailable
from vagus.contract.events import Custom, ErrorRaised
from vagus.contract.subjects import Subjects
from vagus.contract.subscriptions import Checkpoint, Cursor, Filter
from vagus.runtime.bucket import Bucket
from vagus.runtime.bus import Bus, connect
from vagus.runtime.embedded import EmbeddedServer
from vagus.runtime.eventlog import NoStream
from vagus.runtime.jetstream_log import JetStreamLog
from vagus.runtime.subscription import Delivery, Subscription, subscribe
from vagus.sdk.client import Client

ALL = Filter()
QUICK = 0.01
"""Before what has failed comes again."""


@pytest.fixture
async def firehose(bus: Bus, subjects: Subjects) -> Firehose:
    made = Firehose(bus, subjects)
    await made.make()
    return made


@pytest.fixture
async def client(bus: Bus, subjects: Subjects) -> AsyncIterator[Client]:
    async with Client.over(bus, subjects) as client:
        yield client


async def following(subscription: Subscription) -> Delivery:
    with anyio.fail_after(30):
        return await anext(subscription)


async def take(subscription: Subscription, count: int) -> list[str]:
    """The ids of the next events, each acknowledged."""
    taken: list[str] = []
    while len(taken) < count:
        delivery = await following(subscription)
        await delivery.ack()
        taken.append(delivery.event_id)
    return taken


async def silent(subscription: Subscription) -> bool:
    """Whether nothing comes for a moment."""
    with anyio.move_on_after(0.15):
        await anext(subscription)
        return False
    return True


# What comes -----------------------------------------------------------------------------------------------


async def test_events_are_replayed_and_then_live(bus: Bus, subjects: Subjects, firehose: Firehose) -> None:
    old = [await firehose.put("a"), await firehose.put("b")]
    async with subscribe(bus, subjects, ALL) as subscription:
        first, second = await following(subscription), await following(subscription)
        assert [first.event, second.event] == old
        await first.ack()
        new = await firehose.put("a")
        third = await following(subscription)
        assert (third.event, third.line.count(b"\n")) == (new, 0)
        assert (third.session_id, third.branch_id, third.sequence) == ("a", "main", 2)
        assert (third.kind, third.event_id, third.attempt) == ("UserMessage", "a-main-2", 1)


async def test_a_filter_lets_through_what_fits_all_of_it(
    bus: Bus, subjects: Subjects, firehose: Firehose
) -> None:
    for session in ("a", "b"):
        for branch in ("main", "other"):
            await firehose.put(session, branch=branch)
    await firehose.put("b", ErrorRaised(message="no"), branch="other")
    async with subscribe(bus, subjects, Filter(sessions=("b",), branches=("other",))) as subscription:
        assert await take(subscription, 2) == ["b-other-1", "b-other-2"]
        assert await silent(subscription)
    async with subscribe(bus, subjects, Filter(kinds=("UserMessage",), branches=("main",))) as subscription:
        assert await take(subscription, 2) == ["a-main-1", "b-main-1"]
        assert await silent(subscription)


async def test_the_owner_of_a_session_is_looked_up(bus: Bus, subjects: Subjects, firehose: Firehose) -> None:
    await firehose.own("hers", "ada")
    await firehose.own("his", "bob")
    log = JetStreamLog(bus, subjects)
    manifest = Custom(event_type="vagus.manifest_set", data={"manifest": {"owner": "ada"}})
    await log.create("young")  # the registry does not know it yet
    await log.commit("young", "main", seal(records(manifest, session="young"), ""), NoStream())
    for session in ("hers", "his", "unknown", "young", "hers"):
        await firehose.put(session)
    async with subscribe(bus, subjects, Filter(owner="ada")) as subscription:
        assert await take(subscription, 3) == ["hers-main-1", "young-main-1", "hers-main-2"]
        assert await silent(subscription)


async def test_every_owner_hears_that_a_session_was_erased_of_which_nobody_knows_whose_it_was(
    bus: Bus, subjects: Subjects, firehose: Firehose
) -> None:
    await firehose.own("hers", "ada")
    await firehose.own("his", "bob")
    erased = Custom(event_type="vagus.session_erased", data={"ordered_at": "2026-11-24T00:00:00Z"})
    for session in ("gone", "his", "hers"):
        await firehose.put(session, erased)
    await firehose.put("gone", Custom(event_type="mine", data={}))
    async with subscribe(bus, subjects, Filter(owner="ada")) as subscription:
        assert await take(subscription, 2) == ["gone-main-1", "hers-main-1"]
        assert await silent(subscription)


async def test_what_is_no_event_has_no_sequence_and_can_be_given_up(
    bus: Bus, subjects: Subjects, firehose: Firehose, client: Client
) -> None:
    await bus.store(subjects.event("a", "main", "UserMessage"), b"{}")
    async with subscribe(bus, subjects, ALL) as subscription:
        odd = await following(subscription)
        assert (odd.sequence, odd.event_id, odd.line) == (0, "", b"{}")
        with pytest.raises(Malformed):
            _ = odd.event
        await odd.bury("not an event")
        letter = await dead_letter(client)
        assert (letter.deliveries, letter.reason) == (1, "subscription -: not an event")


# Where it starts ------------------------------------------------------------------------------------------


async def test_it_starts_where_one_says(bus: Bus, subjects: Subjects, firehose: Firehose) -> None:
    await firehose.put("a")
    await anyio.sleep(0.01)
    between = datetime.now(UTC)
    await anyio.sleep(0.01)
    await firehose.put("a")
    async with subscribe(bus, subjects, ALL, start="first") as subscription:
        first = await following(subscription)
        assert first.sequence == 1
    async with subscribe(bus, subjects, ALL, start=between) as subscription:
        assert await take(subscription, 1) == ["a-main-2"]
    async with subscribe(bus, subjects, ALL, start=first.cursor) as subscription:
        assert await take(subscription, 1) == ["a-main-2"]
    async with subscribe(bus, subjects, ALL, start=datetime.now(UTC) + timedelta(days=1)) as subscription:
        assert await silent(subscription)
    async with subscribe(bus, subjects, ALL, start="new") as subscription:
        await firehose.put("a")
        assert await take(subscription, 1) == ["a-main-3"]


async def test_a_start_that_is_none_is_refused(bus: Bus, subjects: Subjects, firehose: Firehose) -> None:
    for start in (datetime(2026, 1, 1), "last"):  # noqa: DTZ001 - the point
        with pytest.raises(Malformed):
            async with subscribe(bus, subjects, ALL, start=start):  # type: ignore[arg-type]
                pass


async def test_without_a_relay_one_is_told_so(bus: Bus, subjects: Subjects) -> None:
    with pytest.raises(Unavailable, match="relay"):
        async with subscribe(bus, subjects, ALL):
            pass


# What is remembered ---------------------------------------------------------------------------------------


async def test_a_durable_subscription_goes_on_where_it_was(
    bus: Bus, subjects: Subjects, firehose: Firehose
) -> None:
    for session in "abab":
        await firehose.put(session)
    async with subscribe(bus, subjects, ALL, durable="d") as subscription:
        held, done = await following(subscription), await following(subscription)
        assert {held.event_id, done.event_id} == {"a-main-1", "b-main-1"}
        await done.ack()
        await take(subscription, 1)
    await firehose.put(done.session_id)
    async with subscribe(bus, subjects, ALL, durable="d", start="new") as subscription:
        rest = {f"{held.session_id}-main-1", f"{held.session_id}-main-2", f"{done.session_id}-main-3"}
        assert set(await take(subscription, 3)) == rest
        assert await silent(subscription)


async def test_a_durable_subscription_keeps_its_filter(
    bus: Bus, subjects: Subjects, firehose: Firehose
) -> None:
    async with subscribe(bus, subjects, Filter(kinds=("RunErrored",)), durable="d"):
        pass
    with pytest.raises(SettingsError, match=r"exists with another filter, \{\"kinds\":\[\"RunErrored\"\]\}"):
        async with subscribe(bus, subjects, ALL, durable="d"):
            pass
    with pytest.raises(InvalidId):
        async with subscribe(bus, subjects, ALL, durable="no.name"):
            pass


async def test_an_error_of_the_block_is_raised_as_it_is(
    bus: Bus, subjects: Subjects, firehose: Firehose
) -> None:
    await firehose.put("a")
    with pytest.raises(ZeroDivisionError):  # noqa: PT012 - its block is the point
        async with subscribe(bus, subjects, ALL, durable="d") as subscription:
            await following(subscription)
            raise ZeroDivisionError
    async with subscribe(bus, subjects, ALL, durable="d") as subscription:
        assert (await following(subscription)).attempt == 2


# Sharing --------------------------------------------------------------------------------------------------


class Worker:
    """One participant, with what it was given."""

    def __init__(self) -> None:
        self.taken: list[Delivery] = []
        self.scope = anyio.CancelScope()

    async def run(self, bus: Bus, subjects: Subjects) -> None:
        with self.scope:
            async with subscribe(bus, subjects, ALL, durable="d") as subscription:
                async for delivery in subscription:
                    self.taken.append(delivery)
                    await delivery.ack()


async def test_a_newcomer_takes_its_share_and_leaves_it_without_a_repetition(
    bus: Bus, subjects: Subjects, firehose: Firehose
) -> None:
    sessions = [f"s{number}" for number in range(20)]
    one, two = Worker(), Worker()

    async def round_of_events() -> None:
        before = len(one.taken) + len(two.taken)
        for session in sessions:
            await firehose.put(session)
        await eventually(lambda: len(one.taken) + len(two.taken) >= before + len(sessions))

    async def shared() -> bool:
        await round_of_events()
        recent = two.taken[-len(sessions) :]
        return len({delivery.session_id for delivery in recent}) > 2

    async with anyio.create_task_group() as group:
        group.start_soon(one.run, bus, subjects)
        await round_of_events()
        group.start_soon(two.run, bus, subjects)
        await eventually(shared)
        two.scope.cancel()
        await round_of_events()
        group.cancel_scope.cancel()
    for session in sessions:
        given = sorted(
            delivery.sequence for delivery in one.taken + two.taken if delivery.session_id == session
        )
        assert given == list(range(1, len(given) + 1))


async def test_what_is_in_hand_is_not_handed_over(bus: Bus, subjects: Subjects, firehose: Firehose) -> None:
    sessions = [f"s{number}" for number in range(20)]
    for session in sessions * 2:
        await firehose.put(session)
    two = Worker()
    async with anyio.create_task_group() as group:
        async with subscribe(bus, subjects, ALL, durable="d") as subscription:
            held = {}
            for _ in sessions:
                delivery = await following(subscription)
                held[delivery.session_id] = delivery
            group.start_soon(two.run, bus, subjects)
            while not two.taken:
                for session in sessions:  # one after the other, until one goes over
                    await held[session].ack()
                    await anyio.sleep(0.05)
        await eventually(lambda: len(two.taken) >= len(sessions))
        assert {(delivery.session_id, delivery.sequence) for delivery in two.taken} == {
            (session, 2) for session in sessions
        }
        group.cancel_scope.cancel()


async def test_who_stood_still_hands_out_nothing_that_others_have_taken(
    bus: Bus, subjects: Subjects, firehose: Firehose, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("vagus.runtime.subscription.shares.VALID_S", 0.5)
    monkeypatch.setattr(limits, "CHECKPOINT_S", 0.1)
    for _ in range(3):
        await firehose.put("a")
    bucket = Bucket(bus, subjects.named(streams.SUBSCRIPTIONS))
    async with subscribe(bus, subjects, ALL, durable="d") as subscription:
        delivery = await following(subscription)
        theirs = msgspec.json.encode(Checkpoint(position=2, holder="subscriber.d.other"))
        for entry in await bucket.entries("d.*"):
            await bucket.put(entry.key, theirs)
        time.sleep(0.8)  # noqa: ASYNC251 - as SIGSTOP would; the other has gone on, and died
        await delivery.ack()
        assert await take(subscription, 1) == ["a-main-3"]


async def test_who_removes_a_subscription_ends_it(bus: Bus, subjects: Subjects, firehose: Firehose) -> None:
    with pytest.raises(NotFound, match="d was removed"):  # noqa: PT012 - its block is what ends
        async with subscribe(bus, subjects, ALL, durable="d") as subscription:
            await Bucket(bus, subjects.named(streams.SUBSCRIPTIONS)).delete("d")
            await following(subscription)


# What fails -----------------------------------------------------------------------------------------------


async def dead_letter(client: Client) -> vagus.DeadLetter:
    """The one that there is, or will be."""

    async def found() -> list[vagus.DeadLetter]:
        return await client.dead_letters()

    (letter,) = await eventually(found)
    return await client.dead_letter(letter.id)


async def test_what_always_fails_becomes_a_dead_letter_and_its_session_goes_on(
    bus: Bus, subjects: Subjects, firehose: Firehose, client: Client
) -> None:
    poison = await firehose.put("a")
    await firehose.put("a")
    await firehose.put("b")
    attempts: list[tuple[str, int]] = []
    async with subscribe(bus, subjects, ALL, durable="d", retry_s=QUICK) as subscription:
        while "a-main-2" not in [name for name, _ in attempts]:
            delivery = await following(subscription)
            attempts.append((delivery.event_id, delivery.attempt))
            if delivery.event_id == poison.event_id:
                await delivery.fail("it is\nodd")
            else:
                await delivery.ack()
    assert [number for name, number in attempts if name == poison.event_id] == [1, 2, 3, 4, 5]
    assert attempts.index(("b-main-1", 1)) < len(attempts) - 1
    letter = await dead_letter(client)
    assert letter.kind == "subscription"
    assert (letter.session_id, letter.deliveries, letter.data) == ("a", 5, encode_record(poison))
    assert letter.reason == "subscription d: it is odd"
    assert letter.origin == f"{subjects.named('EVENTS')}.1"


async def test_failures_are_remembered_by_those_who_come_after(
    bus: Bus, subjects: Subjects, firehose: Firehose
) -> None:
    await firehose.put("a")
    for attempt in (1, 2, 3):
        async with subscribe(bus, subjects, ALL, durable="d", retry_s=QUICK) as subscription:
            delivery = await following(subscription)
            assert delivery.attempt == attempt
            await delivery.fail("not now")


async def test_what_has_killed_its_holders_becomes_a_dead_letter(
    bus: Bus, subjects: Subjects, firehose: Firehose, client: Client
) -> None:
    """A holder that is dead has not said what it had in hand; the next one writes that down first."""
    await firehose.put("a")
    await firehose.put("a")
    bucket = Bucket(bus, subjects.named(streams.SUBSCRIPTIONS))
    given: list[str] = []
    for _ in range(6):
        async with subscribe(bus, subjects, ALL, durable="d") as subscription:
            delivery = await following(subscription)
            given.append(delivery.event_id)
            as_it_died = await bucket.entries("d.*")
        for entry in as_it_died:
            await bucket.put(entry.key, entry.value)
    async with subscribe(bus, subjects, ALL, durable="d") as subscription:
        delivery = await following(subscription)
        assert given == ["a-main-1"] * 6
        assert delivery.event_id == "a-main-2"
    assert (await dead_letter(client)).reason.endswith("whoever had it ended before it was done")


# Batches --------------------------------------------------------------------------------------------------


async def test_a_batch_is_taken_and_acknowledged_as_a_whole(
    bus: Bus, subjects: Subjects, firehose: Firehose
) -> None:
    for session in "aabab":
        await firehose.put(session)
    async with subscribe(bus, subjects, ALL, durable="d") as subscription:
        batch = await subscription.batch(limit=4, within_s=20)
        assert [each.event_id for each in batch] == ["a-main-1", "a-main-2", "a-main-3", "b-main-1"]
        assert await subscription.batch(limit=4, within_s=0.05) == []
        await subscription.ack(batch)
        rest = await subscription.batch(limit=4, within_s=0.5)
        assert [each.event_id for each in rest] == ["b-main-2"]
        await subscription.ack(rest)
    async with subscribe(bus, subjects, ALL, durable="d") as subscription:
        assert await subscription.batch(limit=4, within_s=0.5) == []


async def test_of_a_batch_that_fails_only_the_one_at_fault_is_given_up(
    bus: Bus, subjects: Subjects, firehose: Firehose, client: Client
) -> None:
    for session in ("a", "bad", "b", "a", "bad", "b"):
        await firehose.put(session)
    done: list[str] = []
    async with subscribe(bus, subjects, ALL, durable="d", retry_s=QUICK) as subscription:
        with anyio.fail_after(30):
            while len(done) < 5:
                batch = await subscription.batch(limit=6, within_s=0.2)
                if any(each.event_id == "bad-main-1" for each in batch):
                    await subscription.fail(batch, "it is odd")
                else:
                    done += [each.event_id for each in batch]
                    await subscription.ack(batch)
    assert sorted(done) == ["a-main-1", "a-main-2", "b-main-1", "b-main-2", "bad-main-2"]
    assert (await dead_letter(client)).session_id == "bad"


async def test_a_batch_waits_while_all_that_is_there_is_behind_what_is_in_hand(
    bus: Bus, subjects: Subjects, firehose: Firehose
) -> None:
    for _ in range(5):
        await firehose.put("a")
    async with subscribe(bus, subjects, ALL) as subscription:
        (first,) = await subscription.batch(limit=1, within_s=20)
        with anyio.fail_after(20):
            assert await subscription.batch(limit=2, within_s=0.2) == []
            async with anyio.create_task_group() as group:
                group.start_soon(first.ack)
                batch = await subscription.batch(limit=2, within_s=20)
        assert [each.event_id for each in batch] == ["a-main-2", "a-main-3"]


# Bounds ---------------------------------------------------------------------------------------------------


async def test_no_more_is_read_than_may_wait(bus: Bus, subjects: Subjects, firehose: Firehose) -> None:
    for number in range(12):
        await firehose.put(f"s{number}")
    async with subscribe(bus, subjects, ALL, prefetch=4) as subscription:
        held = [await following(subscription) for _ in range(4)]
        assert await silent(subscription)
        await subscription.ack(held)
        assert len(await take(subscription, 8)) == 8


async def test_it_goes_on_after_a_restart_of_the_server(
    own_broker: EmbeddedServer, own_bus: Bus, subjects: Subjects
) -> None:
    firehose = Firehose(own_bus, subjects)
    await firehose.make()
    async with (
        connect(own_broker.url, name="reader") as other,
        subscribe(other, subjects, ALL, durable="d") as subscription,
        subscribe(other, subjects, ALL) as alone,
    ):
        await firehose.put("a")
        assert await take(subscription, 1) == await take(alone, 1) == ["a-main-1"]
        await outage(own_broker, own_bus, crash=True)
        await back(own_broker, own_bus)
        await firehose.put("a")
        assert await take(subscription, 1) == await take(alone, 1) == ["a-main-2"]


async def test_what_a_firehose_that_has_lost_its_end_gets_again_is_read_again(
    bus: Bus, subjects: Subjects, firehose: Firehose, caplog: pytest.LogCaptureFixture
) -> None:
    """As after a power cut, or when it was put back from a backup."""
    for _ in range(3):
        await firehose.put("a")
    for durable in ("d", None):
        async with subscribe(bus, subjects, ALL, durable=durable) as subscription:
            assert len(await take(subscription, 3)) == 3
    await bus.api(f"STREAM.DELETE.{subjects.named('EVENTS')}")
    await firehose.make()
    async with (
        subscribe(bus, subjects, ALL, durable="d") as subscription,
        subscribe(bus, subjects, ALL, start=Cursor(3)) as alone,
    ):
        await eventually(lambda: caplog.text.count("ends at 0") == 2)
        await firehose.put("a")
        assert await take(subscription, 1) == await take(alone, 1) == ["a-main-4"]


async def test_the_client_subscribes(
    bus: Bus, subjects: Subjects, firehose: Firehose, client: Client
) -> None:
    await firehose.put("a")
    async with client.subscribe(vagus.Filter(sessions=("a",)), start=Cursor(0)) as subscription:
        delivery = await following(subscription)
        assert isinstance(delivery, vagus.Delivery)
        assert delivery.cursor == vagus.Cursor(1)
