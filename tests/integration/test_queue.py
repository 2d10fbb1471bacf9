import asyncio
from contextlib import AsyncExitStack

import pytest

from tests.kit.waiting import eventually
from vagus.contract import limits
from vagus.contract.streams import ConsumerSpec, StreamSpec
from vagus.contract.subjects import Subjects
from vagus.runtime import queue as module
from vagus.runtime.bus import Bus
from vagus.runtime.provision import ensure_consumer, ensure_stream
from vagus.runtime.queue import Delivery, KeepAlive, Pull, dead_letter


class Queue:
    """A work queue with one consumer."""

    def __init__(self, bus: Bus, subjects: Subjects, ack_wait_s: float = 1) -> None:
        self.bus = bus
        self.stream = subjects.named("Q")
        self.subject = f"{subjects.root}.q"
        self.spec = ConsumerSpec(
            stream=self.stream, name="c", filters=(f"{self.subject}.*",), ack_wait_s=ack_wait_s
        )
        self.got: list[Delivery] = []

    async def make(self) -> None:
        await ensure_stream(self.bus, StreamSpec(name=self.stream, subjects=(f"{self.subject}.*",)))
        await ensure_consumer(self.bus, self.spec)

    def pull(self, capacity: int = 4) -> Pull:
        return Pull(self.bus, self.spec, capacity=capacity, deliver=self.got.append)

    async def put(self, *texts: bytes) -> None:
        for text in texts:
            await self.bus.store(f"{self.subject}.a", text, headers={"K": "v"})

    async def waiting(self) -> int:
        """Messages in the queue, delivered or not."""
        info = await self.bus.api(f"STREAM.INFO.{self.stream}")
        return int(info["state"]["messages"])  # type: ignore[index]


@pytest.fixture
async def queue(bus: Bus, subjects: Subjects) -> Queue:
    made = Queue(bus, subjects)
    await made.make()
    return made


async def test_a_delivery_tells_what_it_is(queue: Queue) -> None:
    async with queue.pull():
        await queue.put(b"x")
        await eventually(lambda: queue.got)
    (delivery,) = queue.got
    assert (delivery.subject, delivery.data, delivery.headers["K"]) == (f"{queue.subject}.a", b"x", "v")
    assert (delivery.stream, delivery.consumer) == (queue.stream, "c")
    assert (delivery.deliveries, delivery.stream_sequence, delivery.pending) == (1, 1, 0)
    assert delivery.published_at > 1_700_000_000


async def test_an_acked_message_is_gone_and_settling_twice_is_harmless(queue: Queue) -> None:
    async with queue.pull():
        await queue.put(b"x")
        (delivery,) = await eventually(lambda: queue.got)
        await delivery.ack()
        await delivery.nak()
        await eventually(lambda: is_empty(queue))
    assert len(queue.got) == 1


async def is_empty(queue: Queue) -> bool:
    return await queue.waiting() == 0


async def test_no_more_than_the_capacity_is_unsettled(queue: Queue) -> None:
    async with queue.pull(capacity=3) as pull:
        await queue.put(*[b"x"] * 10)
        await eventually(lambda: len(queue.got) == 3)
        await queue.bus.api(f"CONSUMER.INFO.{queue.stream}.c")
        assert len(queue.got) == pull.held == 3
        await queue.got[0].ack()
        await eventually(lambda: len(queue.got) == 4)
        assert pull.held == 3


async def test_a_pull_goes_on_after_its_first_batch(queue: Queue) -> None:
    async with queue.pull(capacity=4):
        await queue.put(*[b"%d" % n for n in range(50)])
        while len({delivery.data for delivery in queue.got}) < 50:
            for delivery in tuple(queue.got):
                await delivery.ack()
            await asyncio.sleep(0)
    assert [delivery.data for delivery in queue.got] == [b"%d" % n for n in range(50)]


async def test_a_nak_brings_it_back_at_once_with_its_count(queue: Queue) -> None:
    async with queue.pull():
        await queue.put(b"x")
        await eventually(lambda: queue.got)
        await queue.got[0].nak()
        await eventually(lambda: len(queue.got) == 2)
    assert queue.got[1].deliveries == 2


async def test_a_pull_makes_its_consumer_when_it_is_missing(queue: Queue) -> None:
    await queue.bus.api(f"CONSUMER.DELETE.{queue.stream}.c")
    await queue.put(b"x")
    async with queue.pull():
        await eventually(lambda: queue.got)


async def test_a_pull_waits_for_its_stream_to_exist(queue: Queue) -> None:
    await queue.bus.api(f"STREAM.DELETE.{queue.stream}")
    async with queue.pull():
        await queue.make()
        await queue.put(b"x")
        await eventually(lambda: queue.got)


async def test_a_pull_survives_that_its_consumer_is_lost(queue: Queue) -> None:
    async with queue.pull():
        await queue.put(b"1")
        (delivery,) = await eventually(lambda: queue.got)
        await delivery.ack()
        await queue.bus.api(f"CONSUMER.DELETE.{queue.stream}.c")
        await queue.put(b"2")
        await eventually(lambda: any(delivery.data == b"2" for delivery in queue.got))


async def test_what_a_lost_consumer_had_handed_out_comes_again_and_may_still_be_settled(queue: Queue) -> None:
    async with queue.pull():
        await queue.put(b"1")
        (first,) = await eventually(lambda: queue.got)
        await queue.bus.api(f"CONSUMER.DELETE.{queue.stream}.c")
        again = await eventually(lambda: queue.got[1:])
        assert [delivery.deliveries for delivery in again] == [1]
        await first.ack()
        await eventually(lambda: is_empty(queue))


async def test_a_pull_takes_a_consumer_with_other_settings(queue: Queue) -> None:
    other = ConsumerSpec(stream=queue.stream, name="c", filters=queue.spec.filters, ack_wait_s=7)
    await queue.bus.api(f"CONSUMER.DELETE.{queue.stream}.c")
    await ensure_consumer(queue.bus, other)
    async with queue.pull():
        await queue.put(b"x")
        await eventually(lambda: queue.got)


async def test_what_comes_after_the_end_goes_to_others_at_once(queue: Queue) -> None:
    async with queue.pull():
        pass
    await queue.put(b"x")
    async with queue.pull():
        (delivery,) = await eventually(lambda: queue.got)
        assert delivery.deliveries == 1


async def test_a_pull_that_expires_is_renewed(queue: Queue, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "EXPIRES_S", 0.2)
    monkeypatch.setattr(module, "HEARTBEAT_S", 0.1)
    asked: list[str] = []
    send = queue.bus.send

    def overhear(subject: str, *rest: bytes, **more: str) -> None:
        asked.append(subject)
        send(subject, *rest, **more)  # type: ignore[arg-type]

    monkeypatch.setattr(queue.bus, "send", overhear)
    async with queue.pull():
        await eventually(lambda: len(asked) == 3)
        await queue.put(b"x")
        await eventually(lambda: queue.got)


async def test_a_pull_that_the_server_has_lost_is_asked_again(
    queue: Queue, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "HEARTBEAT_S", 0.1)
    with monkeypatch.context() as broken:
        broken.setattr(queue.bus, "send", lambda *_, **__: None)
        pull = queue.pull()
        await pull.__aenter__()
    await queue.put(b"x")
    await eventually(lambda: queue.got)
    await pull.__aexit__(None, None, None)


async def test_a_delivery_on_its_way_at_the_end_goes_back_at_once(bus: Bus, subjects: Subjects) -> None:
    queue = Queue(bus, subjects, ack_wait_s=60)
    await queue.make()
    async with queue.pull():
        await bus.api("INFO")
        bus.send(f"{queue.subject}.a", b"x")  # stored and delivered while the pull ends
    async with queue.pull():
        await eventually(lambda: queue.got)


async def test_a_kept_delivery_is_not_delivered_again(queue: Queue, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "PROGRESS_S", 0.2)
    async with queue.pull(), KeepAlive(queue.bus) as keep:
        await queue.put(b"x", b"y")
        await eventually(lambda: len(queue.got) == 2)
        keep.hold(queue.got[0])
        await eventually(lambda: len(queue.got) == 3)  # after ack_wait, 1 s
        assert (queue.got[2].data, queue.got[2].deliveries) == (b"y", 2)


async def test_a_dead_letter_keeps_message_reason_and_origin(queue: Queue, subjects: Subjects) -> None:
    dead = StreamSpec(name=subjects.named("DEAD"), subjects=(subjects.dead(),), allow_direct=True)
    await ensure_stream(queue.bus, dead)
    async with queue.pull():
        await queue.bus.store(f"{queue.subject}.a", b"x", msg_id="id", headers={"K": "v"})
        (delivery,) = await eventually(lambda: queue.got)
        await dead_letter(queue.bus, subjects, "test.s", delivery, "not\na\r\nmessage")
        await eventually(lambda: is_empty(queue))
    letter = await queue.bus.request(f"$JS.API.DIRECT.GET.{dead.name}", b'{"seq":1}', timeout_s=20)
    assert letter.data == b"x"
    assert letter.headers["Nats-Subject"] == subjects.dead("test.s")
    assert letter.headers["Vagus-Reason"] == "not a message"
    assert letter.headers["Vagus-Subject"] == f"{queue.subject}.a"
    assert letter.headers["Vagus-Original-Nats-Msg-Id"] == "id"
    assert letter.headers["K"] == "v"


async def test_a_dead_letter_that_is_too_long_is_cut(queue: Queue, subjects: Subjects) -> None:
    dead = StreamSpec(name=subjects.named("DEAD"), subjects=(subjects.dead(),), allow_direct=True)
    await ensure_stream(queue.bus, dead)
    size = queue.bus.max_payload - 100
    async with queue.pull():
        await queue.put(b"x" * size)
        (delivery,) = await eventually(lambda: queue.got)
        await dead_letter(queue.bus, subjects, "test.s", delivery, "r" * 5000)
        await eventually(lambda: is_empty(queue))
    letter = await queue.bus.request(f"$JS.API.DIRECT.GET.{dead.name}", b'{"seq":1}', timeout_s=20)
    assert letter.headers["Vagus-Size"] == str(size)
    assert len(letter.data) < size
    assert len(letter.headers["Vagus-Reason"]) == 1000


async def test_without_room_for_dead_letters_the_message_comes_again(
    queue: Queue, subjects: Subjects
) -> None:
    async with queue.pull():
        await queue.put(b"x")
        (delivery,) = await eventually(lambda: queue.got)
        await dead_letter(queue.bus, subjects, "test.s", delivery, "nobody keeps them")
        assert delivery.settled
    assert await queue.waiting() == 1


async def test_many_idle_pulls_share_a_connection(bus: Bus, subjects: Subjects) -> None:
    queue = Queue(bus, subjects)
    await queue.make()
    async with AsyncExitStack() as stack:
        for _ in range(16):
            await stack.enter_async_context(queue.pull(capacity=1))
        await queue.put(*[b"x"] * 16)
        await eventually(lambda: len(queue.got) == 16)
