"""Thousands of sessions on one server: what they cost, how long restarts take, what idle ones cost."""

import signal
import tempfile
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from time import perf_counter
from typing import Final

import anyio

import vagus
from benchmarks import ticks
from benchmarks.figures import spread
from benchmarks.installation import Installation, installation
from benchmarks.machine import load
from benchmarks.scale.crowd import census, grow, timed_tick
from benchmarks.scale.figures import (
    CensusFigures,
    GrowthFigures,
    LatencyFigures,
    RestartFigures,
    ScaleReport,
)
from vagus.contract.errors import VagusError
from vagus.runtime.embedded import Durability, EmbeddedServer

BATCHES: Final = 10
"""In so many batches the sessions are made: what creation costs may change with how many there are."""
FEW: Final = 10
BLOCK: Final = 20
TURNS: Final = 20
TURNS_QUICK: Final = 1
KINDS: Final = ("text", "tool")
SERVER_READY_S: Final = 600.0
STOP_S: Final = 60.0
TICK_S: Final = 120.0
ASKED: Final = 10
"""Sessions that are ticked after a restart: they are of many partitions, whose owners come one by one."""
ALL_DAY: Final = {"VAGUS_IDLE_S": "86400"}
"""The kernel keeps every session that it knows, so that a figure is that of all of them."""


class Crowd:
    """An installation with many sessions, on a server that can be restarted."""

    def __init__(self, folder: Path, server: EmbeddedServer, system: Installation, *, quick: bool) -> None:
        self.system: Final = system
        self.sessions: Final[list[vagus.Session]] = []
        self._folder = folder
        self._server = server
        self._quick = quick
        self._ticked = 1000

    async def populate(self, count: int) -> list[GrowthFigures]:
        """Add sessions in batches."""
        batch = max(1, count // (1 if self._quick else BATCHES))
        found: list[GrowthFigures] = []
        while (left := count - len(self.sessions)) > 0:
            found.append(await grow(self.system, self.sessions, min(batch, left), self._server.pid or 0))
        return found

    async def count(self, when: str) -> CensusFigures:
        """What everything takes now."""
        pid = self._server.pid or 0
        return await census(self.system, when, len(self.sessions), self._folder, pid, quick=self._quick)

    async def restart_kernel(self, how: signal.Signals) -> RestartFigures:
        """End the kernel and wait until the next one has handled a tick."""
        before, began = load(), perf_counter()
        ended_s, ready_s = await self.system.restart_kernel(how)
        return await self._served(f"kernel, {how.name}", before, began, ended_s, ready_s)

    async def restart_server(self, how: signal.Signals) -> RestartFigures:
        """End the server and start it again; kernel, gate and runner reconnect."""
        before, began = load(), perf_counter()
        if how is signal.SIGKILL:
            self._server.kill()
        else:
            await self._server.stop(STOP_S)
        ended = perf_counter()
        await self._server.start(SERVER_READY_S)
        ready_s = perf_counter() - ended
        return await self._served(f"nats-server, {how.name}", before, began, ended - began, ready_s)

    async def _served(
        self, what: str, before: float, began: float, ended_s: float, ready_s: float
    ) -> RestartFigures:
        self._ticked += 1
        with anyio.fail_after(TICK_S):
            async with anyio.create_task_group() as tasks:
                for session in self.sessions[:: max(1, len(self.sessions) // ASKED)]:
                    tasks.start_soon(self._tick, session)
        return RestartFigures(
            what=what,
            sessions=len(self.sessions),
            load_before=before,
            ended_s=round(ended_s, 3),
            ready_s=round(ready_s, 3),
            tick_s=round(perf_counter() - began, 3),
        )

    async def _tick(self, session: vagus.Session) -> None:
        while True:
            try:
                await timed_tick(session, self._ticked)
            except VagusError:  # it has not reconnected yet
                await anyio.sleep(0.01)
            else:
                return


@asynccontextmanager
async def crowd(durability: Durability, *, quick: bool) -> AsyncIterator[Crowd]:
    """Everything, without a session yet."""
    with tempfile.TemporaryDirectory(prefix="vagus-bench-", ignore_cleanup_errors=True) as name:
        folder = Path(name)
        async with (
            EmbeddedServer(folder / "nats", durability=durability) as server,
            installation(folder, durability, server=server.url, settings=ALL_DAY) as system,
        ):
            yield Crowd(folder, server, system, quick=quick)


async def latency(few: Crowd, many: Crowd, *, in_memory: bool, quick: bool) -> list[LatencyFigures]:
    """Ticks of a new session in each, block by block in turn, so that the machine's mood hits both."""
    found: list[LatencyFigures] = []
    for kind in KINDS:
        before = load()
        tick, _, ending = ticks.KINDS[kind]
        sides = [(side, await side.system.create_session(), list[float]()) for side in (few, many)]
        for turn in range(-1, TURNS_QUICK if quick else TURNS):
            for _, session, times in sides if turn % 2 else reversed(sides):
                await _block(session, tick, ending, first=(turn + 1) * BLOCK, times=times)
            if turn < 0:  # a warm-up
                for _, _, times in sides:
                    times.clear()
        beside_few, beside_many = (spread(times) for _, _, times in sides)
        found.append(
            LatencyFigures(
                kind=kind,
                few=len(few.sessions),
                many=len(many.sessions),
                in_memory=in_memory,
                load_before=before,
                beside_few=beside_few,
                beside_many=beside_many,
                ratio_p50=round(beside_many.p50_ms / beside_few.p50_ms, 3),
            )
        )
    return found


async def _block(
    session: vagus.Session, tick: ticks.Tick, ending: str, *, first: int, times: list[float]
) -> None:
    for n in range(first, first + BLOCK):
        began = perf_counter()
        output = await tick(session, n)
        times.append(perf_counter() - began)
        if output.reason != ending:
            raise RuntimeError(f"tick {n} of {session.id} ended as {output.reason}, not {ending}: {output}")


async def measure(report: ScaleReport, parts: Sequence[str], durability: Durability, *, count: int) -> None:
    """Fill in what the parts `sessions` and `latency` are about; the crowd is made once for both."""
    quick, sized, timed = report.quick, "sessions" in parts, "latency" in parts
    async with crowd(durability, quick=quick) as many:
        if sized:
            report.census.append(await many.count("empty"))
        report.growth.extend(await many.populate(count))
        if sized:
            report.census.append(await many.count("all in the kernel's memory"))
        if timed:
            await _compare(report, many, durability, in_memory=True)
        report.restarts.append(await many.restart_kernel(signal.SIGTERM))
        if sized:
            report.census.append(await many.count("after the kernel's restart"))
            if not quick:
                report.restarts.append(await many.restart_kernel(signal.SIGKILL))
                report.restarts.append(await many.restart_server(signal.SIGTERM))
            report.restarts.append(await many.restart_server(signal.SIGKILL))
            report.census.append(await many.count("after the server's restart"))
        if timed:
            await _compare(report, many, durability, in_memory=False)


async def _compare(report: ScaleReport, many: Crowd, durability: Durability, *, in_memory: bool) -> None:
    async with crowd(durability, quick=report.quick) as few:
        await few.populate(FEW)
        report.latency.extend(await latency(few, many, in_memory=in_memory, quick=report.quick))
