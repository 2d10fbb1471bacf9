"""The power of the server's machine goes at a bad moment: what was acknowledged is still there.

`make power-loss` cuts more often, at other moments.
"""

import os
import random
from contextlib import aclosing
from functools import partial
from pathlib import Path

import anyio
import pytest

import vagus
from tests.conformance.event_log_suite import Branch
from tests.kit import disk, power, tracer
from tests.kit.audit import RICH, ended_ticks
from tests.kit.system import system
from tests.kit.waiting import eventually
from vagus.contract.errors import SessionNotFound
from vagus.contract.subjects import Subjects
from vagus.runtime.bus import Bus, connect
from vagus.runtime.eventlog import At
from vagus.runtime.jetstream_log import JetStreamLog
from vagus.sdk.verification import Verifier

SEED = int(os.environ.get("VAGUS_POWER_SEED", "1"))
CUTS = int(os.environ.get("VAGUS_POWER_CUTS", "6"))
RESTARTS = max(1, CUTS // 20)
COMMITS = 24
LONG = 300_000
"""Bytes of the long events: four of them are an atomic batch."""


@pytest.fixture(scope="module", autouse=True)
def traced() -> None:
    if (reason := tracer.missing()) is not None:
        pytest.skip(reason)


async def test_no_acknowledged_commit_is_lost(
    subjects: Subjects, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    told = power.listen(monkeypatch)
    async with power.watched(tmp_path, "sync") as was:
        await commits(was.server.url, subjects)
    assert was.matches()
    operations = was.operations()
    for number, (at_ns, keep) in enumerate(moments(told)):
        async with (
            power.after_the_cut(was, operations, at_ns, keep, tmp_path / f"cut{number}") as server,
            connect(server.url, name="test") as bus,
        ):
            await assert_whole(bus, subjects, told.lines(at_ns), number)


async def test_a_server_that_does_not_sync_loses_what_it_acknowledged(
    subjects: Subjects, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """So the cut is one: what nobody synced is gone."""
    told = power.listen(monkeypatch)
    async with power.watched(tmp_path, "fast") as was:
        await commits(was.server.url, subjects)
    files = disk.Disk(was.operations(), told.times_ns[-1]).files(disk.nothing)
    kept = b"".join(content or b"" for content in files.values())
    lost = [line for lines in told.lines(told.times_ns[-1]).values() for line in lines if line not in kept]
    assert lost


async def test_every_accepted_tick_ends_after_the_power_is_back(
    subjects: Subjects, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    told = power.listen(monkeypatch)
    sessions = [f"s{number}" for number in range(3)]
    async with (
        power.watched(tmp_path, "sync") as was,
        system(was.server.url, subjects, tmp_path) as whole,
        anyio.create_task_group() as clients,
    ):
        for session_id in sessions:
            clients.start_soon(ticks, whole.client, session_id)
    assert was.matches()
    operations = was.operations()
    for number, (at_ns, keep) in enumerate(moments(told)):
        target = tmp_path / f"cut{number}"
        async with power.after_the_cut(was, operations, at_ns, keep, target) as server:
            async with connect(server.url, name="test") as bus:
                await assert_whole(bus, subjects, told.lines(at_ns), number)
            if number < RESTARTS:
                async with system(server.url, subjects, target) as whole:
                    for session_id, accepted in told.ticks(at_ns).items():
                        await eventually(
                            partial(have_ended, whole.client, session_id, accepted), timeout_s=60
                        )


async def commits(url: str, subjects: Subjects) -> None:
    """Four writers, each to a session of its own, and to a fork of it; now and then a long commit."""

    async def write(log: JetStreamLog, session_id: str) -> None:
        await log.create(session_id)
        branch, head = Branch(session_id), 0
        for number in range(COMMITS):
            contents = ["y" * LONG] * 4 if number == COMMITS // 2 else ["x" * 400] * (1 + number % 9)
            head = await log.commit(session_id, "main", branch.seal(*contents), At(head))

    async with connect(url, name="writer") as bus, anyio.create_task_group() as writers:
        log = JetStreamLog(bus, subjects, direct=True)
        for number in range(4):
            writers.start_soon(write, log, f"s{number}")


async def ticks(client: vagus.Client, session_id: str) -> None:
    session = await client.create_session(
        owner="me", session_id=session_id, policy=vagus.PolicySet.preset("pro"), budget=RICH
    )
    for number in range(6):
        call = vagus.ToolCall(tool_name="fs.write", input={"path": f"f{number}", "content": str(number)})
        await session.tick(f"t{number}", tool=call, timeout_s=60)


async def have_ended(client: vagus.Client, session_id: str, accepted: set[str]) -> bool:
    try:
        return await ended_ticks(await client.session(session_id)) >= accepted
    except SessionNotFound:
        return False  # its creation was accepted, and is not done yet


def moments(told: power.Acknowledged) -> list[tuple[int, disk.Keep]]:
    """When the power goes, and what the disk had not been asked to keep and keeps.

    Half of the cuts come right after an acknowledgement, when a promise is youngest; every other one with a
    disk that keeps nothing more than it must.
    """
    chance = random.Random(SEED)
    times = told.times_ns
    return [
        (
            chance.choice(times) if number % 2 else chance.randrange(times[0], times[-1]),
            disk.nothing if number % 4 < 2 else disk.some(chance.randrange(2**32)),
        )
        for number in range(CUTS)
    ]


async def assert_whole(
    bus: Bus, subjects: Subjects, acknowledged: dict[str, list[bytes]], number: int
) -> None:
    """Each session's log verifies, and has every event that was acknowledged."""
    log = JetStreamLog(bus, subjects, direct=True)
    for session_id, lines in acknowledged.items():
        verifier, found = Verifier(session_id), set[bytes]()
        async with aclosing(log.commits(session_id)) as stored:
            async for commit in stored:
                verifier.take(commit)
                found.update(commit.lines())
        assert verifier.result().problems == (), f"cut {number} of seed {SEED}"
        assert set(lines) <= found, f"cut {number} of seed {SEED}: {len(set(lines) - found)} events are gone"
