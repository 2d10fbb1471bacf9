"""What readers cost the kernel: text ticks of one installation, in turn without and with them.

Readers have machines of their own, and so does the server; here they share one, and a kernel whose cores are
busy or whose memory is cold takes longer for the same. So the kernel, and whom it works with, keep the first
half of the cores, the server and the readers the rest. And ticks begin at fixed times: a kernel that is asked
again as soon as it has answered works the less at a tick the faster its server is, since it has several in
hand at a time. Two are controls. What `AGAIN` shows is the noise; `BUSY` reads nothing, and computes on the
server's cores as readers do.
"""

import os
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager, suppress
from itertools import count
from pathlib import Path
from statistics import median
from time import perf_counter
from typing import Final

import anyio

import vagus
from benchmarks.feed.figures import CostFigures
from benchmarks.figures import spread
from benchmarks.installation import Installation, installation
from benchmarks.machine import CpuMeter, load
from tests.kit.processes import process
from vagus.runtime.embedded import Durability

SUBSCRIBERS: Final = 100
SESSIONS: Final = 4
ROUNDS, ROUNDS_QUICK = 10, 1
BLOCK, BLOCK_QUICK = 40, 3
"""Ticks of a session in one turn."""
EVERY_S: Final = 0.1
"""Of a session; no two begin at the same time."""
NOBODY, AGAIN, RELAY, MANY = "nobody", "nobody, again", "a relay", "a relay and 100 subscribers"
BUSY: Final = "nobody, the server busy"


class Side:
    """One of those that take turns."""

    def __init__(self) -> None:
        self.times: list[float] = []
        self.kernel_ms: list[float] = []
        """A tick's, turn by turn."""


async def measure(folder: Path, durability: Durability, *, quick: bool) -> list[CostFigures]:
    """All of them, so that a change of the machine's mood hits each."""
    before, sides = load(), {what: Side() for what in (NOBODY, AGAIN, BUSY, RELAY, MANY)}
    numbers = count(1)
    cores = sorted(os.sched_getaffinity(0))
    ours, theirs = set(cores[: (len(cores) + 1) // 2]), set(cores[len(cores) // 2 :])
    with placed(ours):
        async with installation(folder, durability) as whole:
            move(whole.server_pid, theirs)
            sessions = [await whole.create_session() for _ in range(SESSIONS)]
            await turn(whole, sessions, Side(), numbers, BLOCK_QUICK)
            for round_ in range(ROUNDS_QUICK if quick else ROUNDS):
                order = list(sides.items()) if round_ % 2 else list(reversed(sides.items()))
                for what, side in order:
                    async with readers(whole, folder, what, theirs):
                        await turn(whole, sessions, side, numbers, BLOCK_QUICK if quick else BLOCK)
    alone = sides[NOBODY].kernel_ms
    return [
        CostFigures(
            what=what,
            load_before=before,
            ticks=len(side.times),
            latency=spread(side.times),
            kernel_ms_per_tick=round(median(side.kernel_ms), 3),
            kernel_to_nobody=[
                round(ms / without, 3) for ms, without in zip(side.kernel_ms, alone, strict=True)
            ],
        )
        for what, side in sides.items()
    ]


async def turn(
    whole: Installation, sessions: list[vagus.Session], side: Side, numbers: "count[int]", block: int
) -> None:
    """Some ticks of every session."""
    meter, start = CpuMeter({"kernel": whole.pids("kernel")}), perf_counter()

    async def ticks(session: vagus.Session, offset_s: float) -> None:
        for number in range(block):
            await anyio.sleep(max(0.0, start + offset_s + number * EVERY_S - perf_counter()))
            began = perf_counter()
            output = await session.tick(f"objective {next(numbers)}")
            side.times.append(perf_counter() - began)
            if output.reason != "completed":
                raise RuntimeError(f"a tick ended as {output.reason}: {output}")

    async with anyio.create_task_group() as tasks:
        for place, session in enumerate(sessions):
            tasks.start_soon(ticks, session, place * EVERY_S / len(sessions))
    side.kernel_ms.append(meter.ms_per(block * len(sessions))["kernel"])


@asynccontextmanager
async def readers(whole: Installation, folder: Path, what: str, cores: set[int]) -> AsyncIterator[None]:
    """Whoever reads meanwhile, in processes of their own."""
    if what in (NOBODY, AGAIN):
        yield
        return
    if what == BUSY:
        with placed(cores):
            neighbour = await anyio.open_process([sys.executable, "-c", "while True: pass"])
        async with neighbour:
            try:
                yield
            finally:
                neighbour.kill()
        return
    environ = {"VAGUS_SERVER": whole.url, "SUBSCRIBERS": str(SUBSCRIBERS)}
    async with AsyncExitStack() as stack:
        with placed(cores):
            await stack.enter_async_context(process("vagus_relay", environ, folder / "relay.log"))
            if what == MANY:
                await stack.enter_async_context(
                    process("benchmarks.feed.crowd", environ, folder / "crowd.log")
                )
        yield


@contextmanager
def placed(cores: set[int]) -> Iterator[None]:
    """Keep this thread, and the processes that it starts meanwhile, on some of the cores."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, cores)
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def move(pid: int, cores: set[int]) -> None:
    """Keep a process that runs on some of the cores; threads that it makes later follow."""
    for thread in Path(f"/proc/{pid}/task").iterdir():
        with suppress(ProcessLookupError):
            os.sched_setaffinity(int(thread.name), cores)
