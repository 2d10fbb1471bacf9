"""Subscriptions to the events of all sessions, by one process."""

import anyio
import pytest

from tests.kit.firehose import Firehose
from tests.kit.waiting import eventually
from vagus.contract.subjects import Subjects
from vagus.contract.subscriptions import Filter
from vagus.runtime.bus import Bus
from vagus.runtime.subscription import Delivery, Subscription, subscribe

ALL = Filter()


@pytest.fixture
async def firehose(bus: Bus, subjects: Subjects) -> Firehose:
    made = Firehose(bus, subjects)
    await made.make()
    return made


async def take(subscription: Subscription, count: int) -> list[Delivery]:
    """The next events, each acknowledged."""
    taken: list[Delivery] = []
    with anyio.fail_after(20):
        while len(taken) < count:
            delivery = await anext(subscription)
            await delivery.ack()
            taken.append(delivery)
    return taken


def names(deliveries: list[Delivery]) -> list[str]:
    return [delivery.event_id for delivery in deliveries]


async def test_events_are_replayed_and_then_live(bus: Bus, subjects: Subjects, firehose: Firehose) -> None:
    old = [await firehose.put("a"), await firehose.put("b")]
    async with subscribe(bus, subjects, ALL) as subscription:
        first = await take(subscription, 2)
        assert [delivery.event for delivery in first] == old
        new = await firehose.put("a")
        (second,) = await take(subscription, 1)
        assert (second.event, second.line.count(b"\n")) == (new, 0)
        assert (second.session_id, second.branch_id, second.sequence) == ("a", "main", 2)
        assert (second.kind, second.attempt) == ("UserMessage", 1)


async def test_a_durable_subscription_goes_on_where_it_was(
    bus: Bus, subjects: Subjects, firehose: Firehose
) -> None:
    for _ in range(3):
        await firehose.put("a")
    async with subscribe(bus, subjects, ALL, durable="d") as subscription:
        assert names(await take(subscription, 2)) == ["a-main-1", "a-main-2"]
    await firehose.put("a")
    async with subscribe(bus, subjects, ALL, durable="d") as subscription:
        assert names(await take(subscription, 2)) == ["a-main-3", "a-main-4"]


async def test_two_instances_share_the_sessions(bus: Bus, subjects: Subjects, firehose: Firehose) -> None:
    seen: dict[str, set[str]] = {}

    async def work(name: str) -> None:
        async with subscribe(bus, subjects, ALL, durable="d") as subscription:
            async for delivery in subscription:
                seen.setdefault(delivery.session_id, set()).add(name)
                await delivery.ack()

    async with anyio.create_task_group() as group:
        group.start_soon(work, "one")
        group.start_soon(work, "two")
        await anyio.sleep(1)
        for number in range(20):
            await firehose.put(f"s{number}")
        await eventually(lambda: len(seen) == 20)
        group.cancel_scope.cancel()
    assert all(len(by) == 1 for by in seen.values())
    assert {name for by in seen.values() for name in by} == {"one", "two"}


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
                assert names(await subscription.batch(limit=2, within_s=20)) == ["a-main-2", "a-main-3"]
