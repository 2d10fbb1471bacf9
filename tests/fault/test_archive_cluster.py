"""A log that is restored on three servers, of which one stands still meanwhile."""

import msgspec

from tests.kit.cluster import Cluster
from tests.kit.shelving import archived
from tests.kit.waiting import eventually
from tests.kit.writing import Logs
from vagus.contract.errors import VagusError
from vagus.contract.subjects import Subjects
from vagus.runtime.archive.keeper import Keeper
from vagus.runtime.bus import Bus, connect
from vagus.runtime.provision import ensure

COMMITS = 20
RESTORED_S = 60.0


async def test_every_replica_has_every_commit_under_its_own_subject(
    cluster: Cluster, subjects: Subjects
) -> None:
    leader = await cluster.meta_leader()
    behind = next(node for node in cluster.nodes if node is not leader)
    async with connect(leader.url, name="test") as bus:
        await ensure(bus, subjects, partitions=1, replicas=3)
        logs = Logs(bus, subjects, replicas=3)
        for number in range(COMMITS):
            await logs.commit("s", f"{number}")
        await archived(bus, subjects, logs, "s")
        with behind.frozen():
            await eventually(lambda: restored(bus, subjects), timeout_s=RESTORED_S)
        await cluster.whole(bus)
        names = await bus.api("STREAM.NAMES", {"subject": subjects.log("s")})
        (stream,) = msgspec.convert(names["streams"], list[str])
        for node in cluster.nodes:
            await cluster.lead(bus, node, stream)
            info = await bus.api(f"STREAM.INFO.{stream}", {"subjects_filter": ">"})
            has = msgspec.convert(info["state"], dict[str, object])["subjects"]
            assert has == {subjects.log("s", "main"): COMMITS + 1}, node.name


async def restored(bus: Bus, subjects: Subjects) -> bool:
    """Whether the log is back, after one more attempt: what the one that stands still led is led anew."""
    try:
        await Keeper(bus, subjects, replicas=3).restore("s")
    except VagusError:
        return False
    return True
