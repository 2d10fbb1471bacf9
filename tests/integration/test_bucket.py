from collections.abc import AsyncIterator
from typing import Any

import anyio
import nats
import pytest

from tests.kit.outage import back, outage
from vagus.contract.errors import Conflict, Malformed, Unavailable
from vagus.contract.streams import BucketSpec
from vagus.contract.subjects import Subjects
from vagus.runtime import bucket as module
from vagus.runtime import watch
from vagus.runtime.bucket import Bucket, CaughtUp, Change, Deleted, Entry
from vagus.runtime.bus import Bus
from vagus.runtime.embedded import EmbeddedServer
from vagus.runtime.provision import ensure_bucket


@pytest.fixture
async def bucket(bus: Bus, subjects: Subjects) -> Bucket:
    name = subjects.named("B")
    await ensure_bucket(bus, BucketSpec(name=name))
    return Bucket(bus, name)


async def take(changes: AsyncIterator[Change], count: int) -> list[Change]:
    with anyio.fail_after(20):
        return [await anext(changes) for _ in range(count)]


async def test_what_was_put_is_got_with_its_revision(bucket: Bucket) -> None:
    revision = await bucket.put("a.b", b"1")
    assert await bucket.get("a.b") == Entry("a.b", b"1", revision)
    assert await bucket.get("a.b", fresh=True) == Entry("a.b", b"1", revision)


@pytest.mark.parametrize("fresh", [False, True])
async def test_an_absent_or_deleted_key_has_no_entry(bucket: Bucket, fresh: bool) -> None:
    assert await bucket.get("a", fresh=fresh) is None
    await bucket.put("a", b"1")
    await bucket.delete("a")
    await bucket.delete("a")
    assert await bucket.get("a", fresh=fresh) is None


async def test_an_empty_value_is_a_value(bucket: Bucket) -> None:
    await bucket.put("a", b"")
    assert (await bucket.entries())[0].value == b""
    assert await bucket.get("a", fresh=True) == await bucket.get("a")


async def test_a_key_is_created_once_until_it_is_deleted(bucket: Bucket) -> None:
    await bucket.create("a", b"1")
    with pytest.raises(Conflict):
        await bucket.create("a", b"2")
    await bucket.delete("a")
    await bucket.create("a", b"3")
    entry = await bucket.get("a")
    assert entry is not None
    assert entry.value == b"3"


async def test_only_one_of_many_creators_wins(bucket: Bucket) -> None:
    won: list[int] = []

    async def create(number: int) -> None:
        try:
            await bucket.create("a", b"%d" % number)
            won.append(number)
        except Conflict:
            pass

    async with anyio.create_task_group() as group:
        for number in range(10):
            group.start_soon(create, number)
    assert len(won) == 1


async def test_an_update_needs_the_revision(bucket: Bucket) -> None:
    first = await bucket.create("a", b"1")
    second = await bucket.update("a", b"2", first)
    with pytest.raises(Conflict):
        await bucket.update("a", b"3", first)
    with pytest.raises(Conflict):
        await bucket.delete("a", first)
    await bucket.delete("a", second)
    assert await bucket.get("a") is None


async def test_entries_and_keys_match_a_filter_without_deleted_ones(bucket: Bucket) -> None:
    for key in ("s.1", "s.2", "t.1", "t.2.x"):
        await bucket.put(key, key.encode())
    await bucket.delete("s.1")
    await bucket.put("t.1", b"again")
    assert [(entry.key, entry.value) for entry in await bucket.entries()] == [
        ("s.2", b"s.2"),
        ("t.2.x", b"t.2.x"),
        ("t.1", b"again"),
    ]
    assert await bucket.keys("t.*") == ["t.1"]
    assert await bucket.keys("*.2") == ["s.2"]
    assert await bucket.keys("t.>") == ["t.2.x", "t.1"]
    assert await bucket.keys("nobody") == []


async def test_entries_are_read_page_by_page(bucket: Bucket, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "PAGE_MESSAGES", 7)
    for number in range(30):
        await bucket.put(f"k.{number}", b"x")
    assert await bucket.keys("k.*") == [f"k.{number}" for number in range(30)]


@pytest.mark.parametrize("key", ["", ".", "a..b", "a b", "a.", "a*", "*", ">", "é", "a\n"])
async def test_what_is_no_key_is_malformed(bucket: Bucket, key: str) -> None:
    with pytest.raises(Malformed):
        await bucket.put(key, b"")


@pytest.mark.parametrize("wrong", ["", "a*", ">.a", "a b", "a.>.b"])
async def test_what_is_no_filter_is_malformed(bucket: Bucket, wrong: str) -> None:
    with pytest.raises(Malformed):
        await bucket.keys(wrong)


async def test_an_absent_bucket_is_unavailable(bus: Bus, subjects: Subjects) -> None:
    absent = Bucket(bus, subjects.named("NONE"))
    with pytest.raises(Unavailable):
        await absent.get("a")
    with pytest.raises(Unavailable):
        await absent.entries()
    async with absent.watch() as changes:
        with pytest.raises(Unavailable):
            await anext(changes)


async def test_a_watch_tells_what_is_there_and_then_what_changes(bucket: Bucket) -> None:
    first = await bucket.put("s.1", b"1")
    await bucket.put("other", b"1")
    async with bucket.watch("s.*") as changes:
        assert await take(changes, 2) == [Entry("s.1", b"1", first), CaughtUp()]
        second = await bucket.put("s.2", b"2")
        await bucket.delete("s.1")
        assert await take(changes, 2) == [Entry("s.2", b"2", second), Deleted("s.1", second + 1)]


async def test_a_watch_of_nothing_is_caught_up_at_once(bucket: Bucket) -> None:
    async with bucket.watch() as changes:
        assert await take(changes, 1) == [CaughtUp()]
        revision = await bucket.put("a", b"1")
        assert await take(changes, 1) == [Entry("a", b"1", revision)]


async def test_what_expires_before_it_is_told_is_not_waited_for(
    bucket: Bucket, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def announce_more(*consumer: Any) -> int:
        return await create(*consumer) + 1

    create = watch._create_consumer
    monkeypatch.setattr(watch, "_create_consumer", announce_more)
    monkeypatch.setattr(watch, "HEARTBEAT_S", 0.2)
    async with bucket.watch() as changes:
        assert await take(changes, 1) == [CaughtUp()]
        await bucket.put("a", b"1")
        assert await take(changes, 1) == [Entry("a", b"1", 1)]


async def test_a_watch_of_many_entries_loses_none(bucket: Bucket) -> None:
    for number in range(300):
        await bucket.put(f"k.{number}", b"x" * 5000)
    async with bucket.watch() as changes:
        told = await take(changes, 301)
    assert [change.key for change in told[:300] if isinstance(change, Entry)] == [
        f"k.{n}" for n in range(300)
    ]
    assert told[300] == CaughtUp()


@pytest.mark.parametrize("crash", [False, True])
async def test_a_watch_survives_an_outage(own_broker: EmbeddedServer, own_bus: Bus, crash: bool) -> None:
    await ensure_bucket(own_bus, BucketSpec(name="B"))
    bucket = Bucket(own_bus, "B")
    await bucket.put("a", b"1")
    async with bucket.watch() as changes:
        await take(changes, 2)
        await outage(own_broker, own_bus, crash=crash)
        await back(own_broker, own_bus)
        revision = await bucket.put("b", b"2")
        assert await take(changes, 1) == [Entry("b", b"2", revision)]
        revision = await bucket.put("c", b"3")
        assert await take(changes, 1) == [Entry("c", b"3", revision)]


async def test_other_clients_see_the_same_bucket(broker: EmbeddedServer, bucket: Bucket) -> None:
    client = await nats.connect(broker.url)
    other = await client.jetstream().key_value(bucket.name)
    await bucket.put("a", b"1")
    assert (await other.get("a")).value == b"1"
    await other.put("b", b"2")
    await other.delete("a")
    assert [(entry.key, entry.value) for entry in await bucket.entries()] == [("b", b"2")]
    await client.close()
