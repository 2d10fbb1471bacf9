"""Pulling from several consumers, the more urgent first."""

import random
from contextlib import AbstractAsyncContextManager

import anyio
import pytest

from tests.kit.outage import back, outage
from tests.kit.services import wait_until_empty
from tests.kit.waiting import eventually
from vagus.contract.streams import tool_consumers
from vagus.contract.subjects import Subjects
from vagus.contract.tools import Priority
from vagus.runtime import tiers as module
from vagus.runtime.bus import Bus
from vagus.runtime.embedded import EmbeddedServer
from vagus.runtime.intake import intake
from vagus.runtime.provision import ensure, ensure_consumer
from vagus.runtime.queue import Delivery
from vagus.runtime.tiers import TieredPull

HIGH, NORMAL, LOW = Priority


class Pool:
    """A pool's queue, and what was taken from it."""

    def __init__(self, bus: Bus, subjects: Subjects) -> None:
        self.bus = bus
        self.subjects = subjects
        self.stream = subjects.named("TOOLS")
        self.consumers = tool_consumers(subjects, "p")
        self.got: list[Delivery] = []
        self.handed_on: list[Delivery] = []

    async def make(self) -> None:
        await ensure(self.bus, self.subjects, partitions=1)
        for consumer in self.consumers:
            await ensure_consumer(self.bus, consumer)

    async def put(self, priority: Priority, *texts: str) -> None:
        for text in texts:
            await self.bus.store(self.subjects.tool("p", priority, "s"), text.encode())

    def pull(self, capacity: int = 1) -> TieredPull:
        return TieredPull(
            self.bus,
            self.consumers,
            capacity=capacity,
            deliver=self.got.append,
            hand_on=self.handed_on.append,
        )

    def _unsettled(self) -> Delivery | None:
        return next((delivery for delivery in self.got if not delivery.settled), None)

    async def in_order(self, count: int) -> list[str]:
        """Take so many messages with a single slot; returns them in their order."""
        async with self.pull():
            for _ in range(count):
                delivery = await eventually(self._unsettled)
                assert delivery is not None
                await delivery.ack()
        return [delivery.data.decode() for delivery in self.got]


@pytest.fixture
async def pool(bus: Bus, subjects: Subjects) -> Pool:
    made = Pool(bus, subjects)
    await made.make()
    return made


async def test_the_more_urgent_comes_first(pool: Pool) -> None:
    await pool.put(LOW, "l")
    await pool.put(NORMAL, "n")
    await pool.put(HIGH, "h")
    assert await pool.in_order(3) == ["h", "n", "l"]


async def test_nobody_starves(pool: Pool) -> None:
    for priority in (LOW, NORMAL, HIGH):
        await pool.put(priority, *([priority.value] * 4))
    assert "".join(text[0] for text in await pool.in_order(12)) == "hhnl" * 2 + "nnll"


@pytest.mark.parametrize("capacity", [1, 2, 8])
async def test_no_more_than_the_capacity_is_in_hand(pool: Pool, capacity: int) -> None:
    async with pool.pull(capacity) as pull:
        for number in range(10):
            for priority in (HIGH, NORMAL, LOW):
                await pool.put(priority, f"{priority}{number}")
        await eventually(lambda: len(pool.got) == capacity)
        await pool.bus.api(f"CONSUMER.INFO.{pool.stream}.{pool.consumers[0].name}")
        assert len(pool.got) == pull.held == capacity
        for delivery in pool.handed_on:
            await delivery.nak()
        while len(pool.got) < 30:
            for delivery in (*pool.got, *pool.handed_on):
                await (delivery.ack() if delivery in pool.got else delivery.nak())
            await anyio.sleep(0.001)
            assert pull.held <= capacity
    assert len({delivery.stream_sequence for delivery in pool.got}) == 30


async def test_the_next_comes_when_the_work_is_done_though_not_acked_and_no_more_than_twice(
    pool: Pool,
) -> None:
    await pool.put(NORMAL, "1", "2", "3")
    async with pool.pull() as pull:
        await eventually(lambda: len(pool.got) == 1)
        pool.got[0].spare()
        await eventually(lambda: len(pool.got) == 2)
        pool.got[1].spare()
        await pool.bus.api(f"CONSUMER.INFO.{pool.stream}.{pool.consumers[1].name}")
        assert len(pool.got) == pull.held == 2
        await pool.got[0].ack()
        await eventually(lambda: len(pool.got) == 3)
        assert pull.held == 2
        for delivery in pool.got:
            await delivery.ack()
        assert pull.held == 0
    assert not pool.handed_on


async def test_what_waits_is_taken_at_once_while_there_is_room(pool: Pool) -> None:
    await pool.put(NORMAL, *(str(number) for number in range(20)))
    async with pool.pull(20):
        await eventually(lambda: len(pool.got) == 20)
        assert {delivery.deliveries for delivery in pool.got} == {1}


@pytest.mark.parametrize("seed", range(3))
async def test_a_message_does_not_wait_behind_a_full_hand_while_another_has_room(
    pool: Pool, seed: int
) -> None:
    """All are handled at the same time, which takes every slot that there is; nothing counts as a failure."""
    chance, handled, together = random.Random(seed), set[bytes](), anyio.Event()

    async def handle(delivery: Delivery) -> None:
        assert delivery.deliveries == 1
        handled.add(delivery.data)
        await together.wait()

    def taking(capacity: int) -> AbstractAsyncContextManager[None]:
        return intake(pool.bus, pool.subjects, pool.consumers, handle, capacity=capacity, kind="test")

    async with taking(1), taking(1), taking(2):
        for number in range(4):
            await pool.put(chance.choice((HIGH, NORMAL, LOW)), str(number))
        await eventually(lambda: len(handled) == 4, timeout_s=10)
        together.set()
        await wait_until_empty(pool.bus, pool.stream)


async def test_a_consumer_that_is_missing_or_lost_is_made(pool: Pool) -> None:
    async def lose(priority: int) -> None:
        await pool.bus.api(f"CONSUMER.DELETE.{pool.stream}.{pool.consumers[priority].name}")

    await lose(0)
    async with pool.pull(4):
        await pool.put(HIGH, "h")
        await eventually(lambda: len(pool.got) == 1)
        await lose(2)
        await pool.put(LOW, "l")
        await eventually(lambda: len(pool.got) == 2)


async def test_a_request_that_was_lost_is_made_again(pool: Pool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "BELL_S", 0.1)
    monkeypatch.setattr(module, "LOST_S", 0.2)
    with monkeypatch.context() as broken:
        broken.setattr(pool.bus, "send", lambda *_, **__: None)
        pull = pool.pull()
        await pull.__aenter__()
    await pool.put(LOW, "x")
    await eventually(lambda: pool.got)
    await pull.__aexit__(None, None, None)


async def test_what_is_on_its_way_at_the_end_goes_back_at_once(pool: Pool) -> None:
    async with pool.pull():
        await pool.bus.api("INFO")
        pool.bus.send(pool.subjects.tool("p", NORMAL, "s"), b"x")  # stored and delivered while the pull ends
    async with pool.pull():
        await eventually(lambda: pool.got)


async def test_a_pull_goes_on_after_an_outage(
    own_broker: EmbeddedServer, own_bus: Bus, subjects: Subjects
) -> None:
    pool = Pool(own_bus, subjects)
    await pool.make()
    async with pool.pull():
        await pool.put(NORMAL, "1")
        await eventually(lambda: pool.got)
        await pool.got[0].ack()
        await outage(own_broker, own_bus, crash=True)
        await back(own_broker, own_bus)
        await pool.put(LOW, "2")

        async def came() -> bool:
            for delivery in pool.got:  # also what comes again, as its ack was lost
                await delivery.ack()
            return any(delivery.data == b"2" for delivery in pool.got)

        await eventually(came)
