import time

import anyio
import pytest

from tests.kit.outage import back, outage
from tests.kit.waiting import eventually
from vagus.contract import limits, streams
from vagus.contract.errors import Unavailable
from vagus.contract.streams import BucketSpec
from vagus.contract.subjects import Subjects
from vagus.runtime.bucket import Bucket, Entry
from vagus.runtime.bus import Bus
from vagus.runtime.embedded import EmbeddedServer
from vagus.runtime.members import Lease, members, owned
from vagus.runtime.provision import ensure_bucket


async def make_bucket(bus: Bus, subjects: Subjects) -> Bucket:
    name = subjects.named(streams.MEMBERS)
    await ensure_bucket(bus, BucketSpec(name=name, ttl_s=limits.MEMBER_LEASE_S))
    return Bucket(bus, name)


@pytest.fixture
async def bucket(bus: Bus, subjects: Subjects) -> Bucket:
    return await make_bucket(bus, subjects)


async def test_members_come_and_go_with_their_leases(
    bus: Bus, subjects: Subjects, bucket: Bucket, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("vagus.runtime.clock.now_ns", lambda: 7)
    async with Lease(bus, subjects, "kernel.a", {"v": 1}), members(bus, subjects, "kernel.*") as view:
        assert view.live == {"kernel.a": {"v": 1, "since_ns": 7}}
        async with Lease(bus, subjects, "kernel.b"), Lease(bus, subjects, "runner.pool.c"):
            await eventually(lambda: set(view.live) == {"kernel.a", "kernel.b"})
        await eventually(lambda: set(view.live) == {"kernel.a"})
    assert await bucket.keys() == []


async def test_a_lease_that_another_has_taken_over_is_left_to_it(
    bus: Bus, subjects: Subjects, bucket: Bucket
) -> None:
    async with Lease(bus, subjects, "kernel.a", {"v": 1}):
        await bucket.put("kernel.a", b'{"v":2}')
    assert await bucket.keys() == ["kernel.a"]


async def test_a_change_is_told_once_also_when_nobody_waited(
    bus: Bus, subjects: Subjects, bucket: Bucket
) -> None:
    async with members(bus, subjects) as view:
        await bucket.put("kernel.a", b"{}")
        with anyio.fail_after(20):
            await view.changed()
        assert set(view.live) == {"kernel.a"}
        await bucket.put("kernel.b", b"{}")
        await eventually(lambda: len(view.live) == 2)
        with anyio.fail_after(20):
            await view.changed()
        with anyio.move_on_after(0.05) as waiting:
            await view.changed()
        assert waiting.cancelled_caught


async def test_a_renewed_lease_is_no_change(
    bus: Bus, subjects: Subjects, bucket: Bucket, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "MEMBER_RENEW_S", 0.02)
    async with Lease(bus, subjects, "kernel.a"), members(bus, subjects) as view:
        first = await bucket.get("kernel.a")
        assert first is not None

        async def renewed() -> bool:
            entry = await bucket.get("kernel.a")
            return entry is not None and entry.revision > first.revision + 3

        await eventually(renewed)
        with anyio.move_on_after(0.05) as waiting:
            await view.changed()
        assert waiting.cancelled_caught


async def test_a_member_that_falls_silent_is_gone(
    bus: Bus, subjects: Subjects, bucket: Bucket, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "MEMBER_LEASE_S", 0.2)
    async with members(bus, subjects) as view:
        await bucket.put("kernel.dead", b"{}")
        await eventually(lambda: "kernel.dead" in view.live)
        await eventually(lambda: "kernel.dead" not in view.live)


async def test_nobody_is_judged_while_the_server_is_away(
    own_broker: EmbeddedServer, own_bus: Bus, subjects: Subjects, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "MEMBER_LEASE_S", 1.0)
    await ensure_bucket(own_bus, BucketSpec(name=subjects.named(streams.MEMBERS), ttl_s=1.0))
    async with Lease(own_bus, subjects, "kernel.a"), members(own_bus, subjects) as view:
        await outage(own_broker, own_bus)
        await anyio.sleep(1.6)  # longer than a lease and a look at who has expired
        assert "kernel.a" in view.live
        await back(own_broker, own_bus)
        bucket = Bucket(own_bus, subjects.named(streams.MEMBERS))
        await eventually(bucket.keys)  # renewed at once, not after MEMBER_RENEW_S
        assert "kernel.a" in view.live


async def test_nobody_is_dropped_while_the_bucket_has_no_leader(
    bus: Bus, subjects: Subjects, bucket: Bucket, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As on a cluster after the leader's death: nobody can renew, and that proves nothing."""
    monkeypatch.setattr(limits, "MEMBER_LEASE_S", 0.2)
    monkeypatch.setattr(limits, "MEMBER_RENEW_S", 0.1)
    asked: list[str] = []

    async def unled(self: Bucket, key: str, *, fresh: bool = False) -> Entry | None:
        asked.append(key)
        raise Unavailable("no leader")

    async with members(bus, subjects) as view:
        with monkeypatch.context() as patch:
            patch.setattr(Bucket, "get", unled)
            await bucket.put("kernel.a", b"{}")
            await eventually(lambda: len(asked) >= 3)
            assert set(view.live) == {"kernel.a"}
        await eventually(lambda: not view.live)


def test_every_partition_has_one_owner() -> None:
    live = ["kernel.a", "kernel.b", "kernel.c"]
    shares = [owned(32, me, live) for me in live]
    assert sorted(partition for share in shares for partition in share) == list(range(32))
    assert all(share for share in shares)


def test_a_newcomer_takes_partitions_and_nothing_else_moves() -> None:
    before = {me: owned(64, me, ["a", "b"]) for me in "ab"}
    after = {me: owned(64, me, ["a", "b", "c"]) for me in "abc"}
    for me in "ab":
        assert before[me] - after[me] <= after["c"]
        assert after[me] <= before[me]


def test_a_member_alone_owns_all_and_a_stranger_nothing() -> None:
    assert owned(4, "a", ["a"]) == {0, 1, 2, 3}
    assert owned(4, "x", ["a"]) == frozenset()
    assert owned(4, "a", []) == frozenset()


async def test_who_stood_still_takes_nobody_for_dead(
    bus: Bus, subjects: Subjects, bucket: Bucket, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A process that was paused has heard of nobody, which is no sign of the others."""
    await bucket.put("kernel.other", b"{}")
    async with members(bus, subjects) as view:
        monkeypatch.setattr(limits, "MEMBER_LEASE_S", 1.0)
        monkeypatch.setattr(limits, "MEMBER_RENEW_S", 0.2)
        await anyio.sleep(0.05)
        time.sleep(1.5)  # noqa: ASYNC251 - as SIGSTOP would
        await anyio.sleep(0.6)
        assert set(view.live) == {"kernel.other"}
        await eventually(lambda: not view.live)
