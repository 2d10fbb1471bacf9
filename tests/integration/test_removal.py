"""What is removed from a work queue takes nothing of others with it."""

from collections.abc import AsyncIterator
from typing import Any

import anyio
import pytest
from msgspec.structs import replace

from tests.kit.waiting import eventually
from vagus.contract.streams import gate_consumer
from vagus.contract.subjects import Subjects
from vagus.runtime.bus import Bus
from vagus.runtime.eraser import Eraser
from vagus.runtime.provision import ensure
from vagus.runtime.queue import Delivery, Pull
from vagus.runtime.removal import remove

ACK_WAIT_S = 0.5


class Taker:
    """Takes from the gates' queue and writes down what came, unsettled."""

    def __init__(self) -> None:
        self.taken: list[Delivery] = []

    def came(self, *sessions: str) -> bool:
        return [delivery.subject.rpartition(".")[2] for delivery in self.taken] == list(sessions)


@pytest.fixture
async def taker(bus: Bus, subjects: Subjects) -> AsyncIterator[Taker]:
    """Has taken three requests, the second one of which is of the session that is to go."""
    await ensure(bus, subjects, partitions=2)
    wanted = replace(gate_consumer(subjects), name="hasty", ack_wait_s=ACK_WAIT_S)
    await bus.api(f"CONSUMER.DELETE.{wanted.stream}.gate")
    taker = Taker()
    async with Pull(bus, wanted, capacity=10, deliver=taker.taken.append):
        for session in ("early", "gone", "late"):
            await bus.store(subjects.gate(session), b"{}")
        await eventually(lambda: taker.came("early", "gone", "late"))
        yield taker


async def test_what_others_have_in_hand_is_delivered_again(
    bus: Bus, subjects: Subjects, taker: Taker
) -> None:
    assert await Eraser(bus, subjects).sweep("gone") == 1
    await taker.taken[2].ack()
    await eventually(lambda: "early" in [d.subject.rpartition(".")[2] for d in taker.taken[3:]])


async def test_only_what_matches_is_removed(bus: Bus, subjects: Subjects) -> None:
    await ensure(bus, subjects, partitions=2)
    stream = subjects.named("GATE")
    for session in ("a", "b", "a", "c", "a"):
        await bus.store(subjects.gate(session), b"{}")
    assert await remove(bus, stream, subjects.gate("a")) == 3
    assert await remove(bus, stream, subjects.gate("a")) == 0
    assert await left(bus, stream) == {subjects.gate("b"): 1, subjects.gate("c"): 1}
    assert await remove(bus, stream, subjects.gate("*")) == 2
    assert await remove(bus, "NOBODYS", subjects.gate("a")) == 0


async def test_two_that_remove_the_same_do_not_trouble_each_other(bus: Bus, subjects: Subjects) -> None:
    await ensure(bus, subjects, partitions=2)
    for _ in range(50):
        await bus.store(subjects.gate("a"), b"{}")
    async with anyio.create_task_group() as tasks:
        for _ in range(2):
            tasks.start_soon(remove, bus, subjects.named("GATE"), subjects.gate("a"))
    assert await left(bus, subjects.named("GATE")) == {}


async def left(bus: Bus, stream: str) -> dict[str, int]:
    info: Any = await bus.api(f"STREAM.INFO.{stream}", {"subjects_filter": ">"})
    found: dict[str, int] = info["state"].get("subjects") or {}
    return found
