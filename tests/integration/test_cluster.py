"""What differs on three servers, each at its lowest level."""

from collections.abc import AsyncIterator
from contextlib import suppress
from typing import Any

import anyio
import pytest

from tests.conformance.event_log_suite import Branch, all_of, contents, write
from tests.integration.test_archive import log_streams
from tests.integration.test_archive_moves import Shelf
from tests.kit.cluster import Cluster, Node, clustered
from tests.kit.waiting import eventually
from vagus.contract import limits, streams
from vagus.contract.errors import Conflict, OutcomeUnknown, Unavailable
from vagus.contract.streams import BucketSpec, ConsumerSpec, StreamSpec
from vagus.contract.subjects import Subjects
from vagus.runtime.blobs import Blobs
from vagus.runtime.bucket import Bucket
from vagus.runtime.bus import Bus, connect
from vagus.runtime.inspection import UNLED, inspect, replicas_found
from vagus.runtime.jetstream_log import JetStreamLog
from vagus.runtime.members import Lease, members
from vagus.runtime.provision import ensure, ensure_blobs, ensure_bucket, ensure_consumer, ensure_stream
from vagus.runtime.queue import Delivery, Pull
from vagus.sdk.post import store_once

R = 3
PATIENT_S = 60.0


@pytest.fixture(scope="module")
async def cluster(anyio_backend: str, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Cluster]:
    async with clustered(tmp_path_factory.mktemp("cluster"), durability="fast") as running:
        yield running


@pytest.fixture
async def doomed(cluster: Cluster) -> AsyncIterator[Node]:
    """A server that the test may kill."""
    node = cluster.nodes[0]
    yield node
    await node.start()
    async with connect(cluster.url, name="test") as bus:
        await cluster.whole(bus)


@pytest.fixture
async def bus(cluster: Cluster, doomed: Node) -> AsyncIterator[Bus]:
    """A connection to another one."""
    urls = ",".join(node.url for node in cluster.nodes if node is not doomed)
    async with connect(urls, name="test") as connection:
        yield connection


@pytest.mark.cluster
async def test_members_outlive_the_leader_of_their_bucket(
    cluster: Cluster, doomed: Node, bus: Bus, subjects: Subjects
) -> None:
    name = subjects.named(streams.MEMBERS)
    await ensure_bucket(bus, BucketSpec(name=name, ttl_s=limits.MEMBER_LEASE_S), R)
    await cluster.lead(bus, doomed, f"KV_{name}")
    async with (
        Lease(bus, subjects, "kernel.a"),
        Lease(bus, subjects, "kernel.b"),
        members(bus, subjects) as view,
    ):
        everybody = set(view.live)
        doomed.kill()
        await cluster.leader(bus, f"KV_{name}")
        with anyio.move_on_after(limits.MEMBER_LEASE_S):
            await view.changed()
        assert set(view.live) == everybody == {"kernel.a", "kernel.b"}


async def test_a_pull_goes_on_when_the_leader_of_its_consumer_has_died(
    cluster: Cluster, doomed: Node, bus: Bus, subjects: Subjects, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Pull, "_watch", Pull._ask)  # missing heartbeats would tell as well, much later
    subject = f"{subjects.root}.q"
    queue = StreamSpec(name=subjects.named("Q"), subjects=(subject,))
    consumer = ConsumerSpec(stream=queue.name, name="c", filters=(subject,))
    await ensure_stream(bus, queue, R)
    await ensure_consumer(bus, consumer)
    await cluster.lead(bus, doomed, queue.name)
    await cluster.lead(bus, doomed, queue.name, consumer.name)
    got: list[Delivery] = []
    async with Pull(bus, consumer, capacity=10, deliver=got.append):
        await bus.store(subject, b"1")
        await eventually(lambda: got)
        doomed.kill()
        # A client is told "no responders" until there is a leader; that is no reason to give up.
        await store_once(bus, subject, b"2", msg_id="2")
        await eventually(lambda: got[-1].data == b"2", timeout_s=PATIENT_S)


@pytest.mark.cluster
@pytest.mark.parametrize("direct", [False, True])
async def test_a_log_is_read_and_written_when_its_leader_has_died(
    cluster: Cluster, doomed: Node, bus: Bus, subjects: Subjects, direct: bool
) -> None:
    log = JetStreamLog(bus, subjects, direct=direct, replicas=R)
    await log.create("s")
    branch = Branch()
    await write(log, branch, [1])
    await cluster.lead(bus, doomed, subjects.session_stream("s"))
    doomed.kill()
    assert contents(await log.read("s", "main")) == ["main-1"]
    assert await log.head("s") == 1
    with anyio.fail_after(PATIENT_S):
        assert await write(log, branch, [1], at=1) == 2


async def test_what_a_frozen_replica_has_missed_is_there_for_those_who_ask_it(
    cluster: Cluster, bus: Bus, subjects: Subjects
) -> None:
    store, name = subjects.named("B"), subjects.named("K")
    await ensure_blobs(bus, store, R)
    await ensure_bucket(bus, BucketSpec(name=name), R)
    frozen, leader, third = cluster.nodes
    await cluster.lead(bus, leader, f"OBJ_{store}")
    await cluster.lead(bus, leader, f"KV_{name}")
    awake = f"{leader.url},{third.url}"
    async with connect(frozen.url, name="late") as late, connect(awake, name="early") as early:
        with frozen.frozen():
            reference = await Blobs(early, store).put("s", b"x" * 2_000_000)
            await Bucket(early, name).put("a.b", b"1")
        assert await Blobs(late, store).get("s", reference) == b"x" * 2_000_000
        found = await Bucket(late, name).latest("*.b")
        assert found is not None
        assert (found.key, found.value) == ("a.b", b"1")


async def test_an_installation_tells_how_many_replicas_it_has(bus: Bus, subjects: Subjects) -> None:
    assert await replicas_found(bus, subjects) == 1
    await ensure(bus, subjects, partitions=1, replicas=R)
    assert await replicas_found(bus, subjects) == R


@pytest.mark.cluster
async def test_an_inspection_tells_which_server_is_away(doomed: Node, bus: Bus, subjects: Subjects) -> None:
    await ensure(bus, subjects, partitions=1, replicas=R)

    async def away() -> set[str]:
        found = await inspect(bus, subjects, partitions=1, replicas=R)
        assert {item.problem for item in found} <= {"", UNLED}
        return {name for item in found for name in item.away}

    async def nobody() -> bool:
        return await away() == set()

    async def it() -> bool:
        return await away() == {doomed.name}

    await eventually(nobody, timeout_s=PATIENT_S)
    doomed.kill()
    await eventually(it, timeout_s=PATIENT_S)


@pytest.mark.cluster
async def test_a_log_is_archived_and_restored_though_servers_die(
    cluster: Cluster, doomed: Node, bus: Bus, subjects: Subjects
) -> None:
    shelf = Shelf(bus, subjects, replicas=R)
    await shelf.fill(R)
    whole = await all_of(shelf.log.commits("s"))
    await cluster.lead(bus, doomed, subjects.session_stream("s"))
    begun = await shelf.keeper.begin("s")
    await shelf.mark(begun)
    doomed.kill()
    with anyio.fail_after(PATIENT_S):
        archived = False
        while not archived:
            with suppress(Conflict, OutcomeUnknown, Unavailable):
                await shelf.keeper.archive("s", begun, shelf.head)
            with suppress(Unavailable):
                archived = await shelf.keeper.is_archived("s")
    assert (await all_of(shelf.log.commits("s")))[:-1] == whole
    await doomed.start()
    await cluster.whole(bus)
    await cluster.lead(bus, doomed, subjects.named("ARCHIVE"))
    doomed.kill()
    with anyio.fail_after(PATIENT_S):
        while archived:
            with suppress(Conflict, OutcomeUnknown, Unavailable):
                await shelf.keeper.writable("s")
            with suppress(Unavailable):
                archived = await shelf.keeper.is_archived("s")
    await shelf.say("after")
    assert [commit.payload for commit in await all_of(shelf.rival.commits("s"))][: len(whole)] == [
        commit.payload for commit in whole
    ]
    (stream,) = await log_streams(bus, subjects)
    info: Any = await bus.api(f"STREAM.INFO.{stream}")
    assert info["config"]["num_replicas"] == R
