"""Many sessions: created and ticked some at a time, and what an installation takes with them."""

from collections.abc import Awaitable, Callable, Iterable
from functools import partial
from itertools import repeat
from pathlib import Path
from time import perf_counter
from typing import Final

import anyio
from anyio.to_thread import run_sync

import vagus
from benchmarks.figures import spread
from benchmarks.installation import Installation
from benchmarks.machine import CpuMeter, descriptors, disk_mb, load, memory_mb
from benchmarks.scale.figures import CensusFigures, GrowthFigures, ProcessFigures
from benchmarks.ticks import tool
from vagus.runtime.beside import first

CONCURRENCY: Final = 16
IDLE_S: Final = 10.0
IDLE_QUICK_S: Final = 0.2
Work = Callable[[], Awaitable[None]]


async def at_a_time(concurrency: int, works: Iterable[Work]) -> None:
    """Do all, so many at a time; the first error ends it, and is raised as it is."""
    left = iter(works)

    async def worker() -> None:
        for work in left:
            await work()

    try:
        async with anyio.create_task_group() as tasks:
            for _ in range(concurrency):
                tasks.start_soon(worker)
    except ExceptionGroup as errors:
        raise first(errors) from errors


async def create(system: Installation, count: int) -> tuple[list[vagus.Session], list[float], float]:
    """New sessions, how long each took, and how long all did; seconds."""
    made: list[vagus.Session] = []
    times: list[float] = []

    async def one() -> None:
        began = perf_counter()
        made.append(await system.create_session())
        times.append(perf_counter() - began)

    began = perf_counter()
    await at_a_time(CONCURRENCY, repeat(one, count))
    return made, times, perf_counter() - began


async def timed_tick(session: vagus.Session, n: int) -> float:
    """A tick with a tool call that must succeed; seconds."""
    began = perf_counter()
    output = await tool(session, n)
    if output.reason != "tool_calls":
        raise RuntimeError(f"the tick of {session.id} ended as {output.reason}: {output}")
    return perf_counter() - began


async def grow(
    system: Installation, sessions: list[vagus.Session], count: int, server_pid: int
) -> GrowthFigures:
    """Add `count` sessions to the list."""
    before, known, meter = load(), len(sessions), system.meter([server_pid])
    created, creations, took_s = await create(system, count)
    cpu = meter.ms_per(count)
    sessions += created
    ticks: list[float] = []

    async def tick(session: vagus.Session) -> None:
        ticks.append(await timed_tick(session, 0))

    began = perf_counter()
    await at_a_time(CONCURRENCY, [partial(tick, session) for session in created])
    return GrowthFigures(
        sessions_before=known,
        count=count,
        concurrency=CONCURRENCY,
        load_before=before,
        creation=spread(creations),
        created_per_s=round(count / took_s, 1),
        tick=spread(ticks),
        ticks_per_s=round(count / (perf_counter() - began), 1),
        cpu_ms_per_creation=cpu,
    )


async def census(
    system: Installation, when: str, sessions: int, folder: Path, server_pid: int, *, quick: bool
) -> CensusFigures:
    """Look around; `folder` holds the installation's store, and the server's is `nats` in it."""
    before = load()
    kernel = system.pids("kernel")[0]
    meters = {"nats-server": CpuMeter({"": [server_pid]}), "kernel": CpuMeter({"": [kernel]})}
    began = perf_counter()
    await anyio.sleep(IDLE_QUICK_S if quick else IDLE_S)
    took_s = perf_counter() - began
    idle = {kind: round(meter.used_s() / took_s, 3) for kind, meter in meters.items()}
    return CensusFigures(
        when=when,
        sessions=sessions,
        load_before=before,
        nats_server=process(server_pid),
        kernel=process(kernel),
        store_mb=await run_sync(disk_mb, folder / "nats"),
        workspaces_mb=await run_sync(disk_mb, folder / "store" / "root"),
        idle_cores=idle,
    )


def process(pid: int) -> ProcessFigures:
    """What a process takes now."""
    return ProcessFigures(memory_mb=memory_mb(pid), descriptors=descriptors(pid))
