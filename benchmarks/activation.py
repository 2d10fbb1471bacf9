"""How long the first tick takes in a kernel that does not know the session, by the length of its log.

Long logs are written here, not ticked: one real tick is copied, with new ids, as often as is needed. Nobody
else may write meanwhile, so the kernel is idle, and is restarted afterwards.
"""

import re
from collections.abc import Sequence
from functools import partial
from time import perf_counter
from typing import Final
from uuid import uuid4

import msgspec

import vagus
from benchmarks.figures import ActivationFigures, spread
from benchmarks.installation import Installation
from benchmarks.machine import load
from benchmarks.ticks import tool
from vagus.contract.codec import decode_record, seal
from vagus.contract.subjects import Subjects
from vagus.runtime.bus import connect
from vagus.runtime.eventlog import At, Commit
from vagus.runtime.jetstream_log import JetStreamLog

SIZES: Final = (100, 1_000, 10_000, 100_000)
LONG: Final = 1_000_000
"""One log more, if wished: writing it takes minutes. It is also moved to the archive and back."""
SESSIONS: Final = 3
"""Of each size but `LONG`."""
MOVE_S: Final = 1800.0
RESTARTS: Final = 4
WARM: Final = 5
"""Ticks after the first."""

_UUID: Final = re.compile(rb"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")


async def measure(system: Installation, *, quick: bool, long: bool = False) -> list[ActivationFigures]:
    """All sizes; a quick run leaves out the longest, `long` adds `LONG`."""
    sizes, restarts = (SIZES[:-1], 1) if quick else (SIZES, RESTARTS)
    sizes = (*sizes, LONG) if long else sizes
    loads: dict[int, float] = {}
    sessions: dict[int, list[vagus.Session]] = {}
    async with connect(system.url, name="benchmark") as bus:
        log = JetStreamLog(bus, Subjects())
        for size in sizes:
            loads[size] = load()
            sessions[size] = [await system.create_session() for _ in range(1 if size == LONG else SESSIONS)]
            for session in sessions[size]:
                await tool(session, 0)
                await tool(session, 1)
                await lengthen(log, session.id, size)
    replay, _ = await _wake(system, sessions, n=2)
    first: dict[int, list[float]] = {size: [] for size in sizes}
    warm: dict[int, list[float]] = {size: [] for size in sizes}
    for restart in range(restarts):
        woken, ticked = await _wake(system, sessions, n=100 * (restart + 1))
        for size in sizes:
            first[size] += woken[size]
            warm[size] += ticked[size]
    moved = {size: await _moved(system, sessions[size][0]) for size in (sizes[0], sizes[-1]) if long}
    return [
        ActivationFigures(
            events=size,
            load_before=loads[size],
            first=spread(first[size]),
            warm=spread(warm[size]),
            replay=spread(replay[size]),
            archive_s=moved[size][0] if size in moved else None,
            restore_s=moved[size][1] if size in moved else None,
        )
        for size in sizes
    ]


async def _moved(system: Installation, session: vagus.Session) -> tuple[float, float]:
    """Seconds that it takes to archive a session, and to bring it back."""
    began = perf_counter()
    await system.client.archive_session(session.id, timeout_s=MOVE_S)
    archived = perf_counter()
    await system.client.restore_session(session.id, timeout_s=MOVE_S)
    return round(archived - began, 3), round(perf_counter() - archived, 3)


async def _wake(
    system: Installation, sessions: dict[int, list[vagus.Session]], n: int
) -> tuple[dict[int, list[float]], dict[int, list[float]]]:
    """Restart the kernel, then tick all sessions: seconds of first ticks and of later ones, by size."""
    await system.restart_kernel()
    await tool(await system.create_session(), 0)  # not the first tick of the process
    first: dict[int, list[float]] = {size: [] for size in sessions}
    warm: dict[int, list[float]] = {size: [] for size in sessions}
    for size, some in sessions.items():
        for session in some:
            first[size].append(await _timed(session, n))
            warm[size] += [await _timed(session, n + 1 + more) for more in range(WARM)]
    return first, warm


async def _timed(session: vagus.Session, n: int) -> float:
    began = perf_counter()
    output = await tool(session, n)
    if output.reason != "tool_calls":
        raise RuntimeError(f"the tick of {session.id} ended as {output.reason}")
    return perf_counter() - began


async def lengthen(log: JetStreamLog, session_id: str, size: int) -> None:
    """Repeat the last tick on the log until it holds `size` events."""
    commits = [commit async for commit in log.commits(session_id)]
    last = _last_tick(commits)
    head, sequence = commits[-1].stream_sequence, commits[-1].last
    digest = commits[-1].records()[-1].digest or ""
    own = {session_id.encode(), *_UUID.findall(commits[0].payload)}
    while sequence < size:
        renew = partial(_renewed, {uuid: uuid for uuid in own})
        for commit in last:
            payload = _UUID.sub(renew, commit.payload)
            records = [
                msgspec.structs.replace(decode_record(line), sequence=sequence + place, digest=None)
                for place, line in enumerate(payload.splitlines(), 1)
            ]
            sealed = seal(records, digest)
            head = await log.commit(session_id, "main", sealed, At(head))
            sequence, digest = records[-1].sequence, sealed.digest


def _renewed(known: dict[bytes, bytes], found: re.Match[bytes]) -> bytes:
    """The id that stands for the one found: the same one for all its occurrences."""
    return known.setdefault(found[0], str(uuid4()).encode())


def _last_tick(commits: Sequence[Commit]) -> list[Commit]:
    tick = commits[-1].records()[-1].correlation_id
    return [commit for commit in commits if commit.records()[-1].correlation_id == tick]
