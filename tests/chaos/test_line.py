"""The line of a process to its servers: it passes everything on, until it is told otherwise."""

from collections.abc import AsyncIterator

import anyio
import pytest

from chaos.line import Line, lines
from tests.kit.broker import Broker
from tests.kit.waiting import eventually
from vagus.contract.errors import OutcomeUnknown, Unavailable
from vagus.runtime.bus import Bus, connect


@pytest.fixture
async def way(broker: Broker) -> AsyncIterator[Line]:
    async with lines([broker.port], 1) as [made]:
        yield made


@pytest.fixture
async def through(way: Line) -> AsyncIterator[Bus]:
    """A connection through it."""
    async with connect(way.url, name="test") as bus:
        yield bus


async def answers(bus: Bus) -> bool:
    try:
        await bus.api("INFO", timeout_s=20)
    except (Unavailable, OutcomeUnknown):
        return False
    return True


async def test_everything_is_passed_on_however_much_it_is(through: Bus) -> None:
    sent = [bytes([number]) * 500_000 for number in range(20)]
    subject = through.new_inbox()
    async with through.subscribe(subject) as feed:
        for data in sent:
            await through.publish(subject, data)
        with anyio.fail_after(30):
            assert [(await anext(feed)).data for _ in sent] == sent


async def test_a_cut_connection_is_made_again(way: Line, through: Bus) -> None:
    lost = anyio.Event()
    through.on_disconnect(lost.set)
    way.cut()
    with anyio.fail_after(20):
        await lost.wait()
    await eventually(lambda: answers(through), timeout_s=30)


async def test_a_closed_line_takes_no_connection_until_it_is_open(way: Line, through: Bus) -> None:
    await way.close()
    await eventually(lambda: not through.connected)
    with pytest.raises(Unavailable):
        async with connect(way.url, name="test", timeout_s=1):
            pass
    await way.open()
    await eventually(lambda: answers(through), timeout_s=30)


async def test_a_stalled_line_keeps_what_it_carries(way: Line, through: Bus) -> None:
    subject = through.new_inbox()
    async with through.subscribe(subject) as feed:
        assert await answers(through)
        way.stall()
        await through.publish(subject, b"late")
        with pytest.raises(OutcomeUnknown):
            await through.api("INFO", timeout_s=0.5)
        way.flow()
        with anyio.fail_after(30):
            assert (await anext(feed)).data == b"late"
    assert through.connected


@pytest.mark.parametrize("verb", [b"PUB ", b"MSG "])
async def test_a_message_that_is_lost_takes_the_connection_with_it(
    way: Line, through: Bus, verb: bytes
) -> None:
    assert await answers(through)
    way.lose_next(verb)  # type: ignore[arg-type]
    with pytest.raises(OutcomeUnknown):
        await through.api("INFO", timeout_s=20)
    await eventually(lambda: answers(through), timeout_s=30)


async def test_who_connects_to_a_dead_server_is_told_at_once() -> None:
    async with lines([1], 1) as [nowhere]:
        with pytest.raises(Unavailable):
            async with connect(nowhere.url, name="test", timeout_s=3):
                pass
