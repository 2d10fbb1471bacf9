"""The checker reads what a real Vagus has archived, restored, relayed and erased."""

import json
from collections.abc import AsyncIterator
from pathlib import Path

import anyio
import pytest

import vagus
from chaos.checker.check import Options, check
from chaos.checker.log import server
from chaos.checker.report import Report, Rule
from tests.kit.broker import Broker
from tests.kit.system import System, system
from vagus.contract.streams import TICKETS
from vagus.contract.subjects import Subjects
from vagus.runtime.bucket import Bucket

POLICY = vagus.PolicySet(
    allow_capabilities=("*",), gate_capabilities=(), max_tool_runtime_secs=20, max_events_per_turn=256
)


NAMES = ("archived", "restored", "plain", "erased")


@pytest.fixture
async def whole(broker: Broker, subjects: Subjects, tmp_path: Path) -> AsyncIterator[System]:
    """A session that is archived, one that was restored, one that is neither, and one that was erased."""
    async with system(broker.url, subjects, tmp_path, services="kernel relay", erase_settle_s=0.1) as running:
        for name in NAMES:
            session = await running.client.create_session(owner="me", policy=POLICY, session_id=name)
            await session.tick(name, command_id=f"tick-{name}")
            if name != "plain":
                await running.client.archive_session(name)
            if name == "restored":
                await session.tick("more")
            if name == "erased":
                await running.client.erase(name)
        yield running


async def checked(whole: System, folder: Path) -> Report:
    accepted = folder / "accepted.ndjson"
    lines = [
        {"session_id": name, "branch_id": "main", "command_id": f"tick-{name}"}
        | ({"reply": {"ok": {"last_sequence": 9}}} if name == "erased" else {})
        for name in NAMES
    ]
    accepted.write_text("".join(json.dumps(line) + "\n" for line in lines))
    async with server(whole.url) as source:
        return await check(source, Options(root=whole.subjects.root, accepted=accepted, drain_s=20.0))


async def test_what_was_moved_and_erased_is_without_violations(whole: System, tmp_path: Path) -> None:
    report = await checked(whole, tmp_path)
    assert [str(violation) for violation in report.violations] == []
    assert report.counts.sessions == 3
    assert report.counts.accepted == 4
    assert (report.counts.erased, report.counts.erased_ticks) == (1, 1)
    assert report.counts.relayed == report.counts.events > 0


async def test_what_is_left_of_an_erased_session_is_found_on_a_server(whole: System, tmp_path: Path) -> None:
    subjects = whole.subjects
    [kernel] = [name for name in whole.services if name.startswith("kernel")]
    await whole.services[kernel].drain()  # it would look after the erased
    await whole.bus.store(subjects.gate("erased"), b"{}")
    await Bucket(whole.bus, subjects.named(TICKETS)).put("erased.t1", b'{"state": "withdrawn"}')
    found = (await checked(whole, tmp_path)).violations
    assert {violation.rule for violation in found} == {Rule.ERASED, Rule.QUEUE}
    assert {violation.session for violation in found} == {"erased", ""}


async def test_a_relay_that_is_behind_is_waited_for(whole: System, tmp_path: Path) -> None:
    session = await whole.client.session("plain")
    reports: list[Report] = []

    async def check_it() -> None:
        reports.append(await checked(whole, tmp_path))

    [relay] = [name for name in whole.services if name.startswith("relay")]
    await whole.services[relay].drain()
    await session.tick("nobody relays this")
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(check_it)
        await anyio.sleep(0.5)
        assert not reports
        await whole.start("relay", "another")
    assert [str(violation) for violation in reports[0].violations] == []
