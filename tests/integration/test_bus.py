import asyncio

import anyio
import pytest

from tests.kit import apart
from vagus.contract.errors import Busy, Conflict, Malformed, OutcomeUnknown, Refused, Unavailable
from vagus.contract.subjects import Subjects
from vagus.runtime.bus import ApiError, Bus, connect
from vagus.runtime.embedded import EmbeddedServer


async def make_stream(bus: Bus, subjects: Subjects, **config: object) -> str:
    name = subjects.named("X")
    await bus.api(f"STREAM.CREATE.{name}", {"name": name, "subjects": [f"{subjects.root}.x.>"], **config})
    return name


async def test_a_stored_message_is_acknowledged_with_its_sequence(bus: Bus, subjects: Subjects) -> None:
    stream = await make_stream(bus, subjects)
    first = await bus.store(f"{subjects.root}.x.a", b"1")
    second = await bus.store(f"{subjects.root}.x.a", b"2", headers={"K": "v"})
    assert (first.stream, first.sequence, second.sequence) == (stream, 1, 2)


async def test_a_message_id_is_stored_once(bus: Bus, subjects: Subjects) -> None:
    await make_stream(bus, subjects)
    first = await bus.store(f"{subjects.root}.x.a", b"1", msg_id="id")
    again = await bus.store(f"{subjects.root}.x.a", b"1", msg_id="id")
    assert again.duplicate
    assert again.sequence == first.sequence


async def test_a_wrong_expectation_is_a_conflict(bus: Bus, subjects: Subjects) -> None:
    await make_stream(bus, subjects)
    await bus.store(f"{subjects.root}.x.a", b"1", expected_last_sequence=0)
    with pytest.raises(Conflict):
        await bus.store(f"{subjects.root}.x.a", b"2", expected_last_sequence=0)


async def test_storing_in_a_full_stream_is_busy(bus: Bus, subjects: Subjects) -> None:
    await make_stream(bus, subjects, max_msgs=1, discard="new")
    await bus.store(f"{subjects.root}.x.a", b"1")
    with pytest.raises(Busy):
        await bus.store(f"{subjects.root}.x.a", b"2")


async def test_storing_without_a_stream_is_unavailable(bus: Bus, subjects: Subjects) -> None:
    with pytest.raises(Unavailable, match="nobody answers"):
        await bus.store(f"{subjects.root}.nowhere", b"")


async def test_an_answer_that_is_no_acknowledgement_leaves_the_outcome_unknown(
    bus: Bus, subjects: Subjects
) -> None:
    await bus.subscribe_callback(f"{subjects.root}.odd", lambda asked: bus.send(asked.reply, b"hello"))
    with pytest.raises(OutcomeUnknown):
        await bus.store(f"{subjects.root}.odd", b"")


async def test_an_unanswered_request_ends_in_its_time(bus: Bus, subjects: Subjects) -> None:
    async with bus.subscribe(f"{subjects.root}.mute"):
        with anyio.fail_after(20), pytest.raises(OutcomeUnknown, match="in time"):
            await bus.request(f"{subjects.root}.mute", timeout_s=0.1)


async def test_a_message_over_the_limit_is_refused_and_the_connection_lives(
    bus: Bus, subjects: Subjects
) -> None:
    await make_stream(bus, subjects)
    with pytest.raises(Refused, match="over the limit"):
        await bus.store(f"{subjects.root}.x.a", b"x" * bus.max_payload, msg_id="headers count as well")
    await bus.store(f"{subjects.root}.x.a", b"x" * (bus.max_payload - 1000))


@pytest.mark.parametrize("subject", ["", "a b", "a\r\nPUB b 0\r\n", "a\tb"])
async def test_a_subject_that_would_inject_commands_is_malformed(bus: Bus, subject: str) -> None:
    with pytest.raises(Malformed):
        await bus.publish(subject, b"")


async def test_a_header_that_would_inject_headers_is_malformed(bus: Bus, subjects: Subjects) -> None:
    with pytest.raises(Malformed):
        await bus.publish(subjects.root, b"", headers={"K": "v\r\nNats-Msg-Id: 1"})


async def test_an_unknown_stream_is_an_api_error_with_its_codes(bus: Bus, subjects: Subjects) -> None:
    with pytest.raises(ApiError) as caught:
        await bus.api(f"STREAM.INFO.{subjects.named('NONE')}")
    assert (caught.value.code, caught.value.err_code) == (404, 10059)


async def test_what_is_sent_right_before_the_end_arrives(broker: EmbeddedServer, subjects: Subjects) -> None:
    async with connect(broker.url, name="reader") as reader, reader.subscribe(subjects.root) as messages:
        async with connect(broker.url, name="writer") as writer:
            for number in range(3):
                writer.send(subjects.root, b"%d" % number)
        with anyio.fail_after(20):
            assert [(await anext(messages)).data for _ in range(3)] == [b"0", b"1", b"2"]


async def test_a_message_too_long_for_its_stream_is_refused(bus: Bus, subjects: Subjects) -> None:
    await make_stream(bus, subjects, max_msg_size=10)
    with pytest.raises(Refused):
        await bus.store(f"{subjects.root}.x.a", b"x" * 11)


async def test_many_requests_at_once_get_their_own_replies(bus: Bus, subjects: Subjects) -> None:
    await bus.subscribe_callback(f"{subjects.root}.echo", lambda asked: bus.send(asked.reply, asked.data))
    wrong = []

    async def ask(number: int) -> None:
        data = str(number).encode()
        if (await bus.request(f"{subjects.root}.echo", data, timeout_s=20)).data != data:
            wrong.append(number)

    async with anyio.create_task_group() as group:
        for number in range(200):
            group.start_soon(ask, number)
    assert not wrong


async def test_a_cancelled_request_leaves_nothing_behind(bus: Bus, subjects: Subjects) -> None:
    async with bus.subscribe(f"{subjects.root}.mute"):
        with anyio.move_on_after(0.02):
            await bus.request(f"{subjects.root}.mute", timeout_s=5)
    assert not bus._calls


async def test_a_subscriber_reads_what_is_published(bus: Bus, subjects: Subjects) -> None:
    async with bus.subscribe(f"{subjects.root}.core") as messages:
        await bus.publish(f"{subjects.root}.core", b"hello", headers={"K": "vä"}, reply="r")
        message = await anext(messages)
    assert (message.data, message.headers["K"], message.reply) == (b"hello", "vä", "r")


async def test_a_slow_reader_is_told_what_it_lost(bus: Bus, subjects: Subjects) -> None:
    async with bus.subscribe(f"{subjects.root}.core", limit=2) as messages:
        for number in range(5):
            await bus.publish(f"{subjects.root}.core", b"%d" % number)
        await bus.request("$JS.API.INFO", timeout_s=5)
        assert [(await anext(messages)).data, (await anext(messages)).data] == [b"0", b"1"]
        with pytest.raises(Unavailable, match="3 messages"):
            await anext(messages)


async def test_an_ended_subscription_hears_nothing_and_may_end_twice(bus: Bus, subjects: Subjects) -> None:
    heard: list[bytes] = []
    subscription = await bus.subscribe_callback(f"{subjects.root}.core", lambda told: heard.append(told.data))
    await subscription.unsubscribe()
    await subscription.unsubscribe()
    await bus.publish(f"{subjects.root}.core", b"x")
    await bus.api("INFO")
    assert not heard


async def test_a_failing_handler_ends_the_connection_with_its_error(
    broker: EmbeddedServer, subjects: Subjects
) -> None:
    def fail(_: object) -> None:
        raise KeyError("a bug")

    async def live() -> None:
        async with connect(broker.url, name="test") as bus:
            await bus.subscribe_callback(f"{subjects.root}.core", fail)
            await bus.publish(f"{subjects.root}.core")
            await anyio.sleep_forever()

    with anyio.fail_after(20), pytest.raises(KeyError, match="a bug"):
        await live()


async def test_no_server_says_what_to_do() -> None:
    with pytest.raises(Unavailable, match="vagus up"):
        async with connect("nats://127.0.0.1:1", name="test", timeout_s=0.5):
            pass


async def test_a_server_that_says_nothing_is_no_server() -> None:
    async def mute(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await anyio.sleep(1)
        writer.close()

    async with await asyncio.start_server(mute, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        with pytest.raises(Unavailable):
            async with connect(f"nats://127.0.0.1:{port}", name="test", timeout_s=0.3):
                pass


async def test_a_connection_ended_for_good_ends_the_block(own_broker: EmbeddedServer) -> None:
    """The server speaks an error in mid-life, after which nats-py does not reconnect."""

    async def pass_on(source: asyncio.StreamReader, target: asyncio.StreamWriter) -> None:
        while data := await source.read(4096):
            target.write(data)
        target.close()

    victim: list[asyncio.StreamWriter] = []

    async def relay(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        up_reader, up_writer = await asyncio.open_connection("127.0.0.1", own_broker.port)
        victim.append(writer)
        await asyncio.gather(pass_on(reader, up_writer), pass_on(up_reader, writer))

    async def live(port: int) -> None:
        async with connect(f"nats://127.0.0.1:{port}", name="test"):
            victim[0].write(b"-ERR 'account authentication expired'\r\n")
            await anyio.sleep_forever()

    async with await asyncio.start_server(relay, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        with anyio.fail_after(20), pytest.raises(Unavailable, match="for good"):
            await live(port)


@pytest.mark.parametrize("uvloop", [False, True])
def test_what_nobody_waits_for_goes_in_its_time_or_with_another(
    broker: EmbeddedServer, subjects: Subjects, uvloop: bool
) -> None:
    subject = f"{subjects.root}.core"

    async def send() -> None:
        async with connect(broker.url, name="test") as bus, bus.subscribe(subject) as heard:
            for within_s in (0.005, 1e-9, 0.001):
                bus.send(subject, b"alone", within_s=within_s)
            assert [(await anext(heard)).data for _ in range(3)] == [b"alone"] * 3
            bus.send(subject, b"later", within_s=60)
            bus.send(subject, b"now")
            assert [(await anext(heard)).data for _ in range(2)] == [b"now", b"later"]

    async def bounded() -> None:
        with anyio.fail_after(20):
            await send()

    apart.run(bounded, uvloop=uvloop)
