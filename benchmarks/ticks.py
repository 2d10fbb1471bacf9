"""How long a tick takes, how many fit into a second, and what they cost each process."""

from collections.abc import Awaitable, Callable
from functools import partial
from time import perf_counter
from typing import Final

import anyio

import vagus
from benchmarks.figures import TickFigures, spread
from benchmarks.installation import OWN, Installation
from benchmarks.machine import load

SESSIONS: Final = (1, 16)
WARM_UP: Final = 10
EACH: Final = {1: 400, 16: 60}
"""Ticks of each session, by how many sessions there are."""
EACH_QUICK: Final = {1: 50, 16: 10}
MOST: Final = WARM_UP + max(EACH.values())

Tick = Callable[[vagus.Session, int], Awaitable[vagus.TickOutput]]


async def text(session: vagus.Session, n: int) -> vagus.TickOutput:
    """The model answers with text."""
    return await session.tick(f"objective {n}")


async def tool(session: vagus.Session, n: int) -> vagus.TickOutput:
    """The caller proposes a call, which needs no model. New objectives keep the session awake."""
    return await session.tick(f"objective {n}", tool=vagus.ToolCall(tool_name="noop", input={"n": n}))


KINDS: Final[dict[str, tuple[Tick, str, str]]] = {
    "text": (text, "baseline", "completed"),
    "tool": (tool, "baseline", "tool_calls"),
    "model tool": (text, "scripted", "tool_calls"),
}
"""How to tick, the session's model, and how each tick must end: a tick that was refused is none."""


async def measure(system: Installation, *, quick: bool) -> list[TickFigures]:
    """All kinds, by one session and by many."""
    system.write_script(MOST)
    each = EACH_QUICK if quick else EACH
    return [await _measure(system, kind, count, each[count]) for kind in KINDS for count in SESSIONS]


async def _measure(system: Installation, kind: str, count: int, each: int) -> TickFigures:
    tick, model, ending = KINDS[kind]
    before = load()
    sessions = [await system.create_session(model=model) for _ in range(count)]
    run = partial(_run, tick=tick, ending=ending)
    await _together(sessions, partial(run, first=0, count=WARM_UP, times=[]))
    times: list[float] = []
    events = -await _events(sessions)
    meter, began = system.meter(), perf_counter()
    await _together(sessions, partial(run, first=WARM_UP, count=each, times=times))
    took_s = perf_counter() - began
    cpu = meter.ms_per(len(times))
    events += await _events(sessions)
    return TickFigures(
        kind=kind,
        sessions=count,
        load_before=before,
        latency=spread(times),
        ticks_per_s=round(len(times) / took_s, 1),
        events_per_tick=round(events / len(times), 1),
        cpu_ms_per_tick=cpu,
        own_cpu_ms_per_tick=round(sum(cpu[name] for name in OWN), 3),
    )


async def _run(
    session: vagus.Session, *, tick: Tick, ending: str, first: int, count: int, times: list[float]
) -> None:
    for n in range(first, first + count):
        began = perf_counter()
        output = await tick(session, n)
        times.append(perf_counter() - began)
        if output.reason != ending:
            raise RuntimeError(f"tick {n} of {session.id} ended as {output.reason}, not {ending}: {output}")


async def _together(sessions: list[vagus.Session], work: Callable[[vagus.Session], Awaitable[None]]) -> None:
    async def one(session: vagus.Session) -> None:
        await work(session)

    async with anyio.create_task_group() as tasks:
        for session in sessions:
            tasks.start_soon(one, session)


async def _events(sessions: list[vagus.Session]) -> int:
    """How many events the sessions' main branches have."""
    return sum([branch.head_sequence for session in sessions for branch in await session.branches()])
