"""A relay on three servers, of which one after the other dies under load."""

import os
import signal

import pytest

from tests.kit.cluster import Cluster
from tests.kit.downstream import downstream, moved_on
from tests.kit.services import serving
from tests.kit.waiting import eventually
from tests.kit.writing import Logs, written
from vagus.contract.errors import VagusError
from vagus.contract.subjects import Subjects
from vagus.runtime.bus import Bus, connect
from vagus.runtime.provision import ensure
from vagus_relay.relay import serve
from vagus_relay.settings import RelaySettings

pytestmark = pytest.mark.cluster
RECOVERED_S = 120.0


async def test_the_leaders_of_firehose_and_logs_die_under_load(
    cluster: Cluster, cluster_bus: Bus, subjects: Subjects
) -> None:
    await ensure(cluster_bus, subjects, partitions=1, replicas=3)
    logs = Logs(cluster_bus, subjects, replicas=3)

    def settings(name: str) -> RelaySettings:
        return RelaySettings(root_subject=subjects.root, instance=name, replicas=3, survey_s=5)

    async with (
        connect(cluster.url, name="one") as one,
        connect(cluster.url, name="two") as two,
        serving(serve, one, settings("one")),
        serving(serve, two, settings("two")),
    ):
        async with written(logs):
            for stream in (subjects.named("EVENTS"), subjects.session_stream("s0")):
                await moved_on(cluster_bus, subjects)
                node = await cluster.leader(cluster_bus, stream)
                assert node.pid is not None
                os.kill(node.pid, signal.SIGKILL)
                await eventually(lambda node=node: node.pid is None)  # type: ignore[misc]
                await moved_on(cluster_bus, subjects)
                await node.start()
                await cluster.whole(cluster_bus)

        async def complete() -> bool:
            try:
                async with downstream(cluster.url, subjects) as reader:
                    return await reader.lines() == await reader.logged(logs.sessions)
            except VagusError:
                return False

        await eventually(complete, timeout_s=RECOVERED_S, every_s=1)
