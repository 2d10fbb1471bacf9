"""Sessions on three servers of one machine, until something gives: each is a Raft group of three."""

import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from time import perf_counter
from typing import Final

import anyio
from anyio.to_thread import run_sync

from benchmarks.figures import spread
from benchmarks.installation import installation
from benchmarks.machine import CpuMeter, disk_mb, load
from benchmarks.scale.crowd import IDLE_QUICK_S, IDLE_S, create, process, timed_tick
from benchmarks.scale.figures import ClusterFigures, ScaleReport
from tests.kit.cluster import Cluster, clustered
from vagus.contract.errors import VagusError
from vagus.contract.subjects import Subjects
from vagus.runtime.bus import connect
from vagus.runtime.embedded import Durability
from vagus.runtime.provision import ensure

STEP: Final = 500
STEP_QUICK: Final = 4
TICKS: Final = 20
SLOW_MS: Final = 5_000.0
"""A creation that takes longer in the middle: then the limit is reached."""
FULL: Final = 0.8
"""Of all cores, used for nothing: then the limit is reached."""


async def measure(report: ScaleReport, durability: Durability, *, most: int) -> None:
    """Add sessions step by step until something gives, and tell what."""
    with tempfile.TemporaryDirectory(prefix="vagus-bench-", ignore_cleanup_errors=True) as name:
        folder = Path(name)
        async with (
            clustered(folder / "cluster", durability=durability) as cluster,
            _prepared(cluster.url),
            installation(folder, durability, server=cluster.url, settings={"VAGUS_REPLICAS": "3"}) as system,
        ):
            ticking = await system.create_session()
            sessions, step = 1, STEP_QUICK if report.quick else STEP
            while not report.cluster_limit and sessions < (step if report.quick else most):
                before = load()
                try:
                    created, creations, took_s = await create(system, step)
                    sessions += len(created)
                    times = [await timed_tick(ticking, sessions * TICKS + n) for n in range(TICKS)]
                except VagusError as error:
                    report.cluster_limit = f"beyond {sessions} sessions: {error.type}: {error.message}"
                    break
                report.cluster.append(
                    ClusterFigures(
                        sessions=sessions,
                        load_before=before,
                        creation=spread(creations),
                        created_per_s=round(step / took_s, 1),
                        tick=spread(times),
                        servers=[process(node.pid) for node in cluster.nodes if node.pid is not None],
                        store_mb=await run_sync(disk_mb, folder / "cluster"),
                        idle_cores=await _idle_cores(cluster, IDLE_QUICK_S if report.quick else IDLE_S),
                    )
                )
                report.cluster_limit = _limit(report.cluster[-1], report.machine.cores)
    report.cluster_limit = report.cluster_limit or f"none up to the {sessions} that were asked for"


@asynccontextmanager
async def _prepared(url: str) -> AsyncIterator[None]:
    """Make queues and buckets beforehand: a hundred elections may take longer than a process may start."""
    async with connect(url, name="benchmark") as bus:
        await ensure(bus, Subjects(), replicas=3)
    yield


async def _idle_cores(cluster: Cluster, seconds: float) -> float:
    meter = CpuMeter({"": [node.pid for node in cluster.nodes if node.pid is not None]})
    began = perf_counter()
    await anyio.sleep(seconds)
    return round(meter.used_s() / (perf_counter() - began), 3)


def _limit(row: ClusterFigures, cores: int) -> str:
    """What has given, if anything has."""
    if row.creation.p50_ms > SLOW_MS:
        return f"creating a session takes {row.creation.p50_ms / 1000:.1f} s in the middle"
    if row.idle_cores > FULL * cores:
        return f"the servers use {row.idle_cores:.1f} of {cores} cores while nobody asks for anything"
    return ""
