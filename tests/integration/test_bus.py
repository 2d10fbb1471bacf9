import pytest

from vagus.contract.errors import Conflict, Unavailable
from vagus.contract.subjects import Subjects
from vagus.runtime.bus import ApiError, Bus, connect


async def make_stream(bus: Bus, subjects: Subjects, **config: object) -> str:
    name = subjects.named("X")
    await bus.api(
        f"STREAM.CREATE.{name}",
        {"name": name, "subjects": [f"{subjects.root}.x.>"], "storage": "file", **config},
    )
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


async def test_storing_without_a_stream_is_unavailable(bus: Bus, subjects: Subjects) -> None:
    with pytest.raises(Unavailable):
        await bus.store(f"{subjects.root}.nowhere", b"")


async def test_an_unknown_stream_is_an_api_error_with_its_codes(bus: Bus, subjects: Subjects) -> None:
    with pytest.raises(ApiError) as caught:
        await bus.api(f"STREAM.INFO.{subjects.named('NONE')}")
    assert (caught.value.code, caught.value.err_code) == (404, 10059)


async def test_a_subscriber_reads_what_is_published(bus: Bus, subjects: Subjects) -> None:
    async with bus.subscribe(f"{subjects.root}.core") as messages:
        await bus.publish(f"{subjects.root}.core", b"hello", headers={"K": "v"}, reply="r")
        message = await anext(messages)
    assert (message.data, message.headers["K"], message.reply) == (b"hello", "v", "r")


async def test_no_server_says_what_to_do() -> None:
    with pytest.raises(Unavailable, match="vagus up"):
        async with connect("nats://127.0.0.1:1", name="test", timeout_s=0.5):
            pass
