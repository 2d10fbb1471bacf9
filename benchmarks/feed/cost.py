"""What readers cost the kernel: text ticks of one installation, in turn without and with them."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from itertools import count
from pathlib import Path
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
TURNS, TURNS_QUICK = 10, 1
BLOCK, BLOCK_QUICK = 50, 3
"""Ticks of a session in one turn."""
NOBODY, RELAY, MANY = "nobody", "a relay", "a relay and 100 subscribers"


class Side:
    """One of those that take turns."""

    def __init__(self) -> None:
        self.times: list[float] = []
        self.kernel_s = 0.0


async def measure(folder: Path, durability: Durability, *, quick: bool) -> list[CostFigures]:
    """All of them, so that a change of the machine's mood hits each."""
    before, sides = load(), {NOBODY: Side(), RELAY: Side(), MANY: Side()}
    numbers = count(1)
    async with installation(folder, durability) as whole:
        sessions = [await whole.create_session() for _ in range(SESSIONS)]
        await turn(whole, sessions, Side(), numbers, BLOCK_QUICK)
        for _ in range(TURNS_QUICK if quick else TURNS):
            for what, side in sides.items():
                async with readers(whole, folder, what):
                    await turn(whole, sessions, side, numbers, BLOCK_QUICK if quick else BLOCK)
    return [
        CostFigures(
            what=what,
            load_before=before,
            ticks=len(side.times),
            latency=spread(side.times),
            kernel_ms_per_tick=round(side.kernel_s * 1000 / len(side.times), 3),
        )
        for what, side in sides.items()
    ]


async def turn(
    whole: Installation, sessions: list[vagus.Session], side: Side, numbers: "count[int]", block: int
) -> None:
    """Some ticks of every session, all at the same time."""
    meter = CpuMeter({"kernel": whole.pids("kernel")})

    async def ticks(session: vagus.Session) -> None:
        for _ in range(block):
            began = perf_counter()
            output = await session.tick(f"objective {next(numbers)}")
            side.times.append(perf_counter() - began)
            if output.reason != "completed":
                raise RuntimeError(f"a tick ended as {output.reason}: {output}")

    async with anyio.create_task_group() as tasks:
        for session in sessions:
            tasks.start_soon(ticks, session)
    side.kernel_s += meter.used_s()


@asynccontextmanager
async def readers(whole: Installation, folder: Path, what: str) -> AsyncIterator[None]:
    """Whoever reads meanwhile."""
    if what == NOBODY:
        yield
        return
    environ = {"VAGUS_SERVER": whole.url}

    async def read(subscription: vagus.Subscription) -> None:
        async for delivery in subscription:
            await delivery.ack()

    async with process("vagus_relay", environ, folder / "relay.log"), AsyncExitStack() as stack:
        wanted = vagus.Filter(kinds=("RunFinished",))
        opened = [
            await stack.enter_async_context(whole.client.subscribe(wanted, start="new"))
            for _ in range(SUBSCRIBERS if what == MANY else 0)
        ]
        async with anyio.create_task_group() as tasks:
            for subscription in opened:
                tasks.start_soon(read, subscription)
            yield
            tasks.cancel_scope.cancel()
