"""A cluster of three servers, of which some die, freeze and come back while clients tick."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import anyio
import pytest

from tests.kit.cluster import Cluster, Node
from tests.kit.load import FREE, Load, load
from tests.kit.system import System, system
from vagus.contract.subjects import Subjects

LONG = pytest.mark.cluster
FROZEN_S = 10.0
OUTAGE_S = 10.0
ONE_OF_EACH = "gate approver runner kernel"
TWO_OF_EACH = "gate gate approver approver runner runner kernel kernel"


@asynccontextmanager
async def loaded(
    cluster: Cluster, subjects: Subjects, folder: Path, services: str = TWO_OF_EACH
) -> AsyncIterator[tuple[System, Load]]:
    async with (
        system(cluster.url, subjects, folder, services=services, replicas=3) as whole,
        load(whole) as running,
    ):
        yield whole, running


async def victim(cluster: Cluster, whole: System, running: Load, role: str) -> Node:
    """The server that has a role, or is given it."""
    node, names = cluster.nodes[0], whole.subjects
    match role:
        case "leads the queues and the members":
            for name in ("INBOX", "GATE", "TOOLS", "APPROVALS"):
                await cluster.lead(whole.bus, node, names.named(name))
            await cluster.lead(whole.bus, node, f"KV_{names.named('MEMBERS')}")
        case "leads the logs":
            for session in running.sessions:
                await cluster.lead(whole.bus, node, names.session_stream(session.id))
        case "leads the other buckets":
            for name in ("TICKETS", "CALLS", "POLICIES", "SNAPSHOTS"):
                await cluster.lead(whole.bus, node, f"KV_{names.named(name)}")
        case "leads all of JetStream":
            return await cluster.meta_leader()
        case "follows":
            return await cluster.follower(whole.bus, names.named("INBOX"))
    return node


@pytest.mark.parametrize(
    ("role", "services"),
    [
        ("leads the queues and the members", ONE_OF_EACH),
        pytest.param("leads the queues and the members", TWO_OF_EACH, marks=LONG),
        pytest.param("leads the logs", TWO_OF_EACH, marks=LONG),
        pytest.param("leads the other buckets", TWO_OF_EACH, marks=LONG),
        pytest.param("leads all of JetStream", TWO_OF_EACH, marks=LONG),
        pytest.param("follows", TWO_OF_EACH, marks=LONG),
    ],
)
async def test_ticks_go_on_when_a_server_dies_that(
    cluster: Cluster, subjects: Subjects, tmp_path: Path, role: str, services: str
) -> None:
    async with loaded(cluster, subjects, tmp_path, services) as (whole, running):
        node = await victim(cluster, whole, running, role)
        node.kill()
        await running.progress(3)
        await node.start()
        await running.progress(3)
    assert running.troubles == []


@LONG
async def test_ticks_go_on_while_a_server_stands_still(
    cluster: Cluster, subjects: Subjects, tmp_path: Path
) -> None:
    async with loaded(cluster, subjects, tmp_path) as (whole, running):
        node = await victim(cluster, whole, running, "leads the queues and the members")
        with node.frozen():
            await anyio.sleep(FROZEN_S)
        await running.progress(3)
    assert running.troubles == []


@LONG
async def test_each_server_in_turn_is_restarted_without_a_tick_that_fails(
    cluster: Cluster, subjects: Subjects, tmp_path: Path
) -> None:
    async with loaded(cluster, subjects, tmp_path) as (whole, running):
        for node in cluster.nodes:
            await node.stop()
            await running.progress(2)
            await node.start()
            await cluster.whole(whole.bus)
            await running.progress(2)
    assert running.troubles == []


@LONG
async def test_nothing_is_lost_while_two_of_three_servers_are_dead(
    cluster: Cluster, subjects: Subjects, tmp_path: Path
) -> None:
    async with loaded(cluster, subjects, tmp_path) as (whole, running):
        leader = await victim(cluster, whole, running, "leads the queues and the members")
        other = next(node for node in cluster.nodes if node is not leader)
        leader.kill()
        other.kill()
        await anyio.sleep(OUTAGE_S)
        await cluster.start()
        await running.progress(3)


@LONG
async def test_a_session_is_created_while_a_server_is_away(
    cluster: Cluster, subjects: Subjects, tmp_path: Path
) -> None:
    async with loaded(cluster, subjects, tmp_path) as (whole, _running):
        await cluster.nodes[0].stop()
        session = await whole.client.create_session(owner="me", policy=FREE)
        await session.tick("begin")
        await cluster.nodes[0].start()
