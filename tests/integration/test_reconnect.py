"""The server goes away and comes back on the same port."""

import os
import signal
from collections.abc import Iterator
from contextlib import AsyncExitStack, contextmanager

import anyio
import pytest
from nats.aio.client import Client
from nats.aio.transport import TcpTransport

from tests.kit.outage import back, outage
from tests.kit.waiting import eventually
from vagus.contract.errors import OutcomeUnknown, Unavailable
from vagus.contract.streams import ConsumerSpec, StreamSpec
from vagus.runtime.bus import Bus, Stored, connect
from vagus.runtime.embedded import EmbeddedServer
from vagus.runtime.provision import ensure_consumer, ensure_stream
from vagus.runtime.queue import Delivery, Pull

QUEUE = StreamSpec(name="Q", subjects=("q.*",))
CONSUMER = ConsumerSpec(stream="Q", name="c", filters=("q.*",), ack_wait_s=1)


@contextmanager
def frozen(broker: EmbeddedServer) -> Iterator[None]:
    assert broker.pid is not None
    os.kill(broker.pid, signal.SIGSTOP)
    os.waitpid(broker.pid, os.WUNTRACED)  # until it stands still
    try:
        yield
    finally:
        os.kill(broker.pid, signal.SIGCONT)


@pytest.mark.parametrize("crash", [False, True])
async def test_storing_goes_on_after_an_outage(own_broker: EmbeddedServer, own_bus: Bus, crash: bool) -> None:
    await ensure_stream(own_bus, QUEUE)
    await own_bus.store("q.a", b"1")
    await outage(own_broker, own_bus, crash=crash)
    with pytest.raises(Unavailable, match="not sent"):
        await own_bus.store("q.a", b"2")
    await back(own_broker, own_bus)
    assert (await own_bus.store("q.a", b"3")).sequence == 2


async def test_a_request_in_flight_ends_when_the_connection_breaks(
    own_broker: EmbeddedServer, own_bus: Bus
) -> None:
    errors: list[OutcomeUnknown] = []

    async def ask() -> None:
        try:
            await own_bus.request("mute", timeout_s=30)
        except OutcomeUnknown as error:
            errors.append(error)

    async with own_bus.subscribe("mute") as heard, anyio.create_task_group() as group:
        group.start_soon(ask)
        await anext(heard)
        await outage(own_broker, own_bus, crash=True)
    assert "lost" in errors[0].message


async def test_a_frozen_server_leaves_the_outcome_unknown(own_broker: EmbeddedServer, own_bus: Bus) -> None:
    await ensure_stream(own_bus, QUEUE)
    with frozen(own_broker), pytest.raises(OutcomeUnknown):
        await own_bus.store("q.a", b"1", timeout_s=0.2, msg_id="id")
    assert await own_bus.store("q.a", b"1", msg_id="id") == Stored("Q", 1, duplicate=True)


async def test_an_answer_that_nobody_waits_for_any_more_does_not_end_the_reading(
    own_broker: EmbeddedServer, own_bus: Bus
) -> None:
    """nats-py stops reading, without a word, when the PONG of a flush comes that was given up."""
    await ensure_stream(own_bus, QUEUE)
    lost: list[bool] = []
    own_bus.on_disconnect(lambda: lost.append(True))
    with frozen(own_broker), anyio.move_on_after(0.2):
        async with own_bus.subscribe("given.up"):
            pass
    assert (await own_bus.store("q.a", b"1")).sequence == 1
    assert (await own_bus.store("q.a", b"2")).sequence == 2
    assert not lost


@pytest.mark.parametrize("error", [ConnectionResetError, RuntimeError])
async def test_a_connection_ends_quietly_though_its_socket_is_gone(
    own_broker: EmbeddedServer, monkeypatch: pytest.MonkeyPatch, error: type[Exception]
) -> None:
    """nats-py writes what is left at the end, and raises what the socket, or uvloop, says to that."""
    close = Client.close

    async def reset(self: Client) -> None:
        await close(self)
        raise error

    monkeypatch.setattr(Client, "close", reset)
    async with connect(own_broker.url, name="test") as bus:
        assert bus.connected


async def test_what_is_sent_to_a_socket_that_uvloop_has_closed_is_lost_and_no_bug(
    own_bus: Bus, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It closes it in the midst of a write; nats-py hears of that a moment later."""

    def closed(self: TcpTransport, data: bytes) -> None:
        raise RuntimeError("unable to perform operation on <TCPTransport closed=True>; the handler is closed")

    with monkeypatch.context() as patch:
        patch.setattr(TcpTransport, "write", closed)
        own_bus.send("lost", b"")
        with pytest.raises(OutcomeUnknown):
            await own_bus.request("lost", timeout_s=0.2)
    assert await own_bus.api("INFO", timeout_s=20)


async def test_many_pulls_end_soon_though_the_server_is_frozen(
    own_broker: EmbeddedServer, own_bus: Bus
) -> None:
    await ensure_stream(own_bus, QUEUE)
    await ensure_consumer(own_bus, CONSUMER)
    got: list[Delivery] = []
    stack = AsyncExitStack()
    for _ in range(8):
        await stack.enter_async_context(Pull(own_bus, CONSUMER, capacity=1, deliver=got.append))
    with frozen(own_broker), anyio.fail_after(6):  # one second for all, not for each
        await stack.aclose()


async def test_what_is_published_meanwhile_is_dropped_and_counted(
    own_broker: EmbeddedServer, own_bus: Bus
) -> None:
    async with own_bus.subscribe("core") as heard:
        await outage(own_broker, own_bus)
        for _ in range(1000):
            await own_bus.publish("core", b"x" * 1000)
        assert own_bus.dropped == 1000
        await back(own_broker, own_bus)
        await own_bus.publish("core", b"after")
        assert (await anext(heard)).data == b"after"


async def test_hooks_are_told_of_loss_and_return(own_broker: EmbeddedServer, own_bus: Bus) -> None:
    told: list[str] = []
    own_bus.on_disconnect(lambda: told.append("lost"))
    own_bus.on_reconnect(lambda: told.append("back"))
    forget = own_bus.on_reconnect(lambda: told.append("never"))
    forget()
    await outage(own_broker, own_bus)
    await back(own_broker, own_bus)
    await eventually(lambda: told == ["lost", "back"])


@pytest.mark.parametrize("crash", [False, True])
async def test_a_pull_goes_on_after_an_outage(own_broker: EmbeddedServer, own_bus: Bus, crash: bool) -> None:
    await ensure_stream(own_bus, QUEUE)
    await ensure_consumer(own_bus, CONSUMER)
    got: list[Delivery] = []
    async with Pull(own_bus, CONSUMER, capacity=2, deliver=got.append):
        await own_bus.store("q.a", b"1")
        await eventually(lambda: got)
        await outage(own_broker, own_bus, crash=crash)
        await back(own_broker, own_bus)
        await got[0].ack()
        await own_bus.store("q.a", b"2")
        await eventually(lambda: any(delivery.data == b"2" for delivery in got))


async def test_a_pull_started_without_a_server_waits_for_it(own_broker: EmbeddedServer, own_bus: Bus) -> None:
    await ensure_stream(own_bus, QUEUE)
    await ensure_consumer(own_bus, CONSUMER)
    await outage(own_broker, own_bus)
    got: list[Delivery] = []
    async with Pull(own_bus, CONSUMER, capacity=2, deliver=got.append):
        await back(own_broker, own_bus)
        await own_bus.store("q.a", b"1")
        await eventually(lambda: got)


async def test_an_ack_lost_in_an_outage_brings_the_message_again(
    own_broker: EmbeddedServer, own_bus: Bus
) -> None:
    await ensure_stream(own_bus, QUEUE)
    await ensure_consumer(own_bus, CONSUMER)
    got: list[Delivery] = []
    async with Pull(own_bus, CONSUMER, capacity=2, deliver=got.append):
        await own_bus.store("q.a", b"1")
        await eventually(lambda: got)
        await outage(own_broker, own_bus)
        await got[0].ack()
        await back(own_broker, own_bus)
        await eventually(lambda: len(got) == 2)
    assert got[1].stream_sequence == got[0].stream_sequence
