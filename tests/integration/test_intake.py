"""Intake: what becomes of a message by how its handler ends."""

from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager

import anyio
import pytest

from tests.kit.services import impatient, stored, wait_until_empty
from tests.kit.waiting import eventually
from vagus.contract import limits
from vagus.contract.errors import Conflict, Malformed, OutcomeUnknown, Refused, Unavailable, VagusError
from vagus.contract.streams import gate_consumer
from vagus.contract.subjects import Subjects
from vagus.runtime import intake as intake_module
from vagus.runtime.bus import Bus
from vagus.runtime.intake import intake
from vagus.runtime.provision import ensure
from vagus.runtime.queue import Delivery


class Desk:
    """A queue, and how often what was handled."""

    def __init__(self, bus: Bus, subjects: Subjects) -> None:
        self.bus = bus
        self.subjects = subjects
        self.handled: list[str] = []

    async def send(self, text: str) -> None:
        await self.bus.store(self.subjects.gate("s"), text.encode())

    def taking(
        self, handle: Callable[[str], Awaitable[None]], *, capacity: int = 8, patience_s: float = 60
    ) -> AbstractAsyncContextManager[None]:
        async def counted(delivery: Delivery) -> None:
            self.handled.append(delivery.data.decode())
            await handle(delivery.data.decode())

        return intake(
            self.bus,
            self.subjects,
            gate_consumer(self.subjects),
            counted,
            capacity=capacity,
            kind="test",
            patience_s=patience_s,
        )

    async def empty(self) -> bool:
        return await wait_until_empty(self.bus, self.subjects.named("GATE"))

    async def dead(self) -> int:
        return await stored(self.bus, self.subjects.named("DEAD"))


@pytest.fixture
async def desk(bus: Bus, subjects: Subjects) -> Desk:
    await ensure(bus, subjects, partitions=1)
    return Desk(bus, subjects)


async def nothing(text: str) -> None:
    """Handle it."""


async def test_what_is_handled_is_done(desk: Desk) -> None:
    for number in range(20):
        await desk.send(str(number))
    async with desk.taking(nothing, capacity=4):
        await desk.empty()
    assert sorted(desk.handled, key=int) == [str(number) for number in range(20)]
    assert await desk.dead() == 0


@pytest.mark.parametrize("error", [Unavailable(), OutcomeUnknown(), Conflict()])
async def test_what_may_go_better_later_is_handled_again_here(desk: Desk, error: VagusError) -> None:
    async def handle(text: str) -> None:
        if len(desk.handled) < 3:
            raise error

    await desk.send("a")
    async with desk.taking(handle):
        await desk.empty()
    assert desk.handled == ["a"] * 3
    assert await desk.dead() == 0


@pytest.mark.parametrize("error", [Malformed("no"), Refused("never")])
async def test_what_can_never_go_well_goes_to_the_dead_letters(desk: Desk, error: VagusError) -> None:
    async def handle(text: str) -> None:
        raise error

    await desk.send("a")
    async with desk.taking(handle):
        await desk.empty()
    assert desk.handled == ["a"]
    assert await desk.dead() == 1


async def test_after_its_patience_it_gives_the_message_back(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(intake_module, "RETRY_MOST_S", 0.2)

    async def handle(text: str) -> None:
        if len(desk.handled) < 3:
            raise Unavailable

    await desk.send("a")
    async with desk.taking(handle, patience_s=0), desk.taking(handle, patience_s=0):
        await eventually(lambda: len(desk.handled) == 3, timeout_s=20)
        await desk.empty()


async def test_a_bug_ends_the_process_and_the_message_comes_again(desk: Desk) -> None:
    async def fail(text: str) -> None:
        raise ZeroDivisionError

    await impatient(desk.bus, gate_consumer(desk.subjects), 0.2)
    await desk.send("a")
    for _ in range(limits.MAX_DELIVERIES - 1):
        with pytest.raises(ExceptionGroup) as ended, anyio.fail_after(20):
            async with desk.taking(fail):
                await anyio.sleep_forever()
        assert ended.group_contains(ZeroDivisionError)
    assert await desk.dead() == 0
    async with desk.taking(fail):
        await desk.empty()
    assert len(desk.handled) == limits.MAX_DELIVERIES - 1
    assert await desk.dead() == 1


async def test_what_is_given_back_in_good_order_is_not_worn_out_by_that(desk: Desk) -> None:
    """Only deliveries that ended their reader count towards the last."""

    async def wait(text: str) -> None:
        await anyio.sleep_forever()

    async def fail(text: str) -> None:
        raise ZeroDivisionError

    await impatient(desk.bus, gate_consumer(desk.subjects), 0.2)
    await desk.send("a")
    for number in range(2 * limits.MAX_DELIVERIES):
        with anyio.CancelScope() as scope:
            async with desk.taking(wait):
                await eventually(lambda known=number: len(desk.handled) > known)  # type: ignore[misc]
                scope.cancel()
    for _ in range(limits.MAX_DELIVERIES - 1):
        with pytest.raises(ExceptionGroup), anyio.fail_after(20):
            async with desk.taking(fail):
                await anyio.sleep_forever()
    assert await desk.dead() == 0
    async with desk.taking(fail):
        await desk.empty()
    assert await desk.dead() == 1


async def test_leaving_waits_for_what_is_in_hand_and_takes_no_more(desk: Desk) -> None:
    go_on, finished = anyio.Event(), []

    async def handle(text: str) -> None:
        await go_on.wait()
        finished.append(text)

    async with anyio.create_task_group() as group:

        async def take() -> None:
            async with desk.taking(handle):
                await desk.send("a")
                await eventually(lambda: desk.handled)

        group.start_soon(take)
        await eventually(lambda: desk.handled)
        await anyio.sleep(0.1)
        await desk.send("b")
        go_on.set()
    assert finished == ["a"]

    async def one_is_left() -> bool:
        return await stored(desk.bus, desk.subjects.named("GATE")) == 1

    await eventually(one_is_left)


async def test_leaving_gives_back_what_waits_to_be_tried_again(desk: Desk) -> None:
    async def handle(text: str) -> None:
        raise Unavailable

    with anyio.fail_after(20):
        async with desk.taking(handle):
            await desk.send("a")
            await eventually(lambda: len(desk.handled) >= 4)
    assert await stored(desk.bus, desk.subjects.named("GATE")) == 1


async def test_what_is_cancelled_is_somebody_else_s_at_once(desk: Desk) -> None:
    async def handle(text: str) -> None:
        await anyio.sleep_forever()

    await desk.send("a")
    with anyio.CancelScope() as scope:
        async with desk.taking(handle):
            await eventually(lambda: desk.handled)
            scope.cancel()
    began = anyio.current_time()
    async with desk.taking(nothing):
        await eventually(lambda: len(desk.handled) == 2)
    assert anyio.current_time() - began < limits.ACK_WAIT_S


async def test_long_work_stays_ours(desk: Desk) -> None:
    async def handle(text: str) -> None:
        await anyio.sleep(4.5)

    await impatient(desk.bus, gate_consumer(desk.subjects), 3.5)
    await desk.send("a")
    async with desk.taking(handle):
        await desk.empty()
    assert desk.handled == ["a"]


async def test_no_more_is_in_hand_than_there_is_room_for(desk: Desk) -> None:
    at_once = [0, 0]

    async def handle(text: str) -> None:
        at_once[0] += 1
        at_once[1] = max(at_once)
        await anyio.sleep(0.01)
        at_once[0] -= 1

    for number in range(30):
        await desk.send(str(number))
    async with desk.taking(handle, capacity=3):
        await desk.empty()
    assert at_once == [0, 3]
