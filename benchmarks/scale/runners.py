"""Throughput of tool calls by how long they take, how many runners there are, and how many kernels."""

import tempfile
from itertools import count
from pathlib import Path
from time import perf_counter
from typing import Final

import anyio

import vagus
from benchmarks.figures import spread
from benchmarks.installation import Installation, installation
from benchmarks.machine import load
from benchmarks.scale.crowd import create
from benchmarks.scale.figures import CallFigures, ScaleReport
from vagus.runtime.embedded import Durability

KERNELS: Final = (1, 2, 4)
RUNNERS: Final = (1, 2, 4, 8)
CALLS_MS: Final = {2: (0, 10, 100), 16: (1_000,)}
CALLS_QUICK_MS: Final = {2: (0, 100)}
"""By the slots of a runner: longer calls cost less of it, so that it may have more of them at a time."""
MORE: Final = 32
"""Sessions more than slots: while one's call goes to the kernel and the next one comes, others' calls run."""
WARM_UP_S: Final = 1.5
WINDOW_S: Final = 5.0
WINDOW_CALLS: Final = 10
"""A window is at least so many calls long, or where it begins and ends would count for too much."""


async def measure(report: ScaleReport, durability: Durability) -> None:
    """All combinations, each number of processes in an installation of its own; a quick run has two."""
    quick = report.quick
    for kernels in (1,) if quick else KERNELS:
        for runners in (2,) if quick else RUNNERS:
            for slots, calls_ms in CALLS_QUICK_MS.items() if quick else CALLS_MS.items():
                with tempfile.TemporaryDirectory(prefix="vagus-bench-", ignore_cleanup_errors=True) as name:
                    settings = {"VAGUS_SLOTS": str(slots)}
                    async with installation(
                        Path(name), durability, kernels=kernels, runners=runners, settings=settings
                    ) as system:
                        flow = Flow(system, kernels=kernels, runners=runners, slots=slots, quick=quick)
                        report.calls.extend(await flow.all(calls_ms))


class Window:
    """What ended within some seconds."""

    def __init__(self) -> None:
        self.ended: Final[list[tuple[float, float]]] = []
        """When a tick ended, and how long it took."""
        self.times: list[float] = []
        """Of those that count."""
        self.took_s = 0.0
        self.cpu_ms: dict[str, float] = {}
        """Of each of them."""
        self.cores = 0.0

    async def watch(self, system: Installation, seconds: float) -> None:
        """Open it for so long."""
        meter, began = system.meter(), perf_counter()
        await anyio.sleep(seconds)
        self.took_s = perf_counter() - began
        self.times = [lasted for at, lasted in self.ended if began <= at < began + self.took_s]
        self.cpu_ms, self.cores = meter.ms_per(max(1, len(self.times))), meter.used_s() / self.took_s


class Flow:
    """Sessions that call without a pause."""

    def __init__(self, system: Installation, *, kernels: int, runners: int, slots: int, quick: bool) -> None:
        self._system = system
        self._kernels = kernels
        self._runners = runners
        self._slots = slots
        self._quick = quick
        self._number = count()
        self._sessions: list[vagus.Session] = []

    async def all(self, calls_ms: tuple[int, ...]) -> list[CallFigures]:
        """One length after the other, with the same sessions."""
        wanted = self._runners * self._slots + (4 if self._quick else MORE)
        self._sessions, _, _ = await create(self._system, wanted)
        return [await self._measure(call_ms) for call_ms in calls_ms]

    async def _measure(self, call_ms: int) -> CallFigures:
        before, window, stop = load(), Window(), anyio.Event()
        async with anyio.create_task_group() as tasks:
            for session in self._sessions:
                tasks.start_soon(self._call, session, call_ms, window, stop)
            await anyio.sleep(0.2 if self._quick else WARM_UP_S + call_ms / 1000)
            seconds = max(0.5 if self._quick else WINDOW_S, WINDOW_CALLS * call_ms / 1000)
            await window.watch(self._system, seconds)
            stop.set()
        rate, slots = len(window.times) / window.took_s, self._runners * self._slots
        ideal = slots * 1000 / call_ms if call_ms else None
        return CallFigures(
            kernels=self._kernels,
            runners=self._runners,
            slots=self._slots,
            call_ms=call_ms,
            sessions=len(self._sessions),
            load_before=before,
            calls_per_s=round(rate, 1),
            ideal_per_s=ideal,
            share=round(rate / ideal, 3) if ideal else None,
            latency=spread(window.times),
            cpu_ms_per_call=window.cpu_ms,
            cores_used=round(window.cores, 2),
        )

    async def _call(self, session: vagus.Session, call_ms: int, window: Window, stop: anyio.Event) -> None:
        while not stop.is_set():
            n = next(self._number)
            began = perf_counter()
            call = vagus.ToolCall(tool_name="nap", input={"n": n, "ms": call_ms})
            output = await session.tick(f"objective {n}", tool=call)
            ended = perf_counter()
            window.ended.append((ended, ended - began))
            if output.reason != "tool_calls":
                raise RuntimeError(f"a call of {session.id} ended as {output.reason}: {output}")
