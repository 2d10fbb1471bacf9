"""A tool runner is killed, at the worst moments, or loses its server."""

import secrets
from pathlib import Path

import anyio
import pytest

from tests.kit.runners import PARTITIONS, Desk, served, start_process
from tests.kit.waiting import eventually
from vagus.contract.messages import ReportType, ToolRequest
from vagus.contract.subjects import Subjects
from vagus.runtime.bus import Bus, connect
from vagus.runtime.embedded import EmbeddedServer
from vagus.runtime.provision import ensure
from vagus_toolrunner.calls import CALL_CLAIMED, REPORT_STORED, TOOL_ENDED

OUTAGE_S = 6.0
"""Longer than a lease, and than the server waits for a sign of life of a call."""


async def none_queued(desk: Desk) -> bool:
    return await desk.queued() == 0


async def all_stored(desk: Desk, requests: list[ToolRequest]) -> bool:
    return all([await desk.stored_endings(request) for request in requests])


async def dies_at(point: str, tool: str, url: str, bus: Bus, folder: Path) -> tuple[int, str]:
    """Let a runner die there with one call, and another one finish; how often it ran, and how it ended."""
    subjects = Subjects(root="t" + secrets.token_hex(6))
    await ensure(bus, subjects, partitions=PARTITIONS)
    async with Desk(bus, subjects, folder).listening() as desk:
        process = start_process(desk.environ(url, VAGUS_FAULT=point))
        try:
            request = await desk.send(desk.request(tool, {"seconds": 0}))
            await eventually(lambda: process.poll() is not None, timeout_s=30)
        finally:
            process.kill()
            process.communicate()
        async with served(url, desk.settings()):
            ending = await desk.ending(request, 30)
            await eventually(lambda: none_queued(desk), timeout_s=30)
    unknown = (ending.error or "").startswith("outcome unknown: ")
    return desk.runs(request), "unknown" if unknown else ending.type.value


@pytest.mark.parametrize(
    ("point", "expected"),
    [
        (CALL_CLAIMED, {"once": (0, "unknown"), "put": (1, "report")}),
        (TOOL_ENDED, {"once": (1, "unknown"), "put": (2, "report"), "look": (2, "report")}),
        (REPORT_STORED, {"once": (1, "report"), "put": (2, "report"), "look": (2, "report")}),
    ],
)
async def test_a_runner_dies_at(
    point: str, expected: dict[str, tuple[int, str]], bus: Bus, broker: EmbeddedServer, tmp_path: Path
) -> None:
    """The outcome is unknown only where nobody can know it, and only what may be repeated is."""
    found: dict[str, tuple[int, str]] = {}

    async def one(tool: str) -> None:
        found[tool] = await dies_at(point, tool, broker.url, bus, tmp_path / tool)

    async with anyio.create_task_group() as group:
        for tool in expected:
            (tmp_path / tool).mkdir()
            group.start_soon(one, tool)
    assert found == expected


async def test_calls_go_on_while_the_server_is_away(subjects: Subjects, tmp_path: Path) -> None:
    """What runs meanwhile runs once and is reported when the server is back; nobody is taken for dead."""
    store = tmp_path / "nats"
    async with (
        EmbeddedServer(store, durability="sync") as server,
        connect(server.url, name="test") as bus,
    ):
        await ensure(bus, subjects, partitions=PARTITIONS)
        one, two = [{"instance": name, "slots": 3} for name in ("one", "two")]
        desk = Desk(bus, subjects, tmp_path)
        async with (
            desk.listening(),
            served(server.url, desk.settings(**one)),
            served(server.url, desk.settings(**two)),
        ):
            asked = [
                await desk.send(desk.request(tool, {"seconds": seconds}))
                for seconds in (OUTAGE_S / 2, OUTAGE_S + 3)
                for tool in ("once", "put")
            ]
            await eventually(lambda: all(desk.runs(request) for request in asked))
            server.kill()
            await anyio.sleep(OUTAGE_S)
            async with EmbeddedServer(store, durability="sync", port=server.port):
                await eventually(lambda: bus.connected, timeout_s=30)
                # A runner may be connected again before we are: what it then reports is heard by nobody here.
                await eventually(lambda: all_stored(desk, asked), timeout_s=90)
                await eventually(lambda: none_queued(desk), timeout_s=60)
                assert [desk.runs(request) for request in asked] == [1, 1, 1, 1]
                for request in asked:
                    assert [report.type for report in await desk.stored_endings(request)] == [
                        ReportType.REPORT
                    ]
