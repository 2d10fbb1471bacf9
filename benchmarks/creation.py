"""How long it takes to create a session."""

from time import perf_counter
from typing import Final

import anyio

from benchmarks.figures import CreationFigures, spread
from benchmarks.installation import Installation
from benchmarks.machine import load

CONCURRENCY: Final = (1, 16)
EACH: Final = 160
EACH_QUICK: Final = 32


async def measure(system: Installation, *, quick: bool) -> list[CreationFigures]:
    """One after the other, and many at a time."""
    return [await _measure(system, count, EACH_QUICK if quick else EACH) for count in CONCURRENCY]


async def _measure(system: Installation, concurrency: int, total: int) -> CreationFigures:
    before = load()
    times: list[float] = []

    async def create() -> None:
        for _ in range(total // concurrency):
            began = perf_counter()
            await system.create_session()
            times.append(perf_counter() - began)

    began = perf_counter()
    async with anyio.create_task_group() as tasks:
        for _ in range(concurrency):
            tasks.start_soon(create)
    return CreationFigures(
        concurrency=concurrency,
        load_before=before,
        latency=spread(times),
        sessions_per_s=round(len(times) / (perf_counter() - began), 1),
    )
