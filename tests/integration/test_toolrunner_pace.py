"""Calls that are tried again, and calls that wait for their turn."""

from collections.abc import AsyncIterator
from pathlib import Path

import msgspec
import pytest

from tests.kit.broker import Broker
from tests.kit.runners import PARTITIONS, Desk, served
from vagus.contract.messages import ReportType
from vagus.contract.subjects import Subjects
from vagus.contract.tools import Success, ToolboxEntry
from vagus.runtime.bucket import Bucket
from vagus.runtime.bus import Bus
from vagus.runtime.provision import ensure


@pytest.fixture
async def desk(bus: Bus, subjects: Subjects, broker: Broker, tmp_path: Path) -> AsyncIterator[Desk]:
    await ensure(bus, subjects, partitions=PARTITIONS)
    async with Desk(bus, subjects, tmp_path).listening() as made, served(broker.url, made.settings()):
        yield made


async def test_a_call_that_fails_is_tried_again_and_the_report_says_how_often(desk: Desk) -> None:
    request = await desk.send(desk.request("flaky", {"failures": 2}))
    ending = await desk.ending(request, 20)
    assert ending.report is not None
    assert (ending.report.outcome, ending.attempts) == (Success(output="attempt 3"), 3)
    assert desk.runs(request) == 3
    plain = await desk.ending(await desk.send(desk.request("noop")))
    assert plain.attempts == 1
    assert b"attempts" not in next(message.data for message in desk.messages if b'"noop"' in message.data)


async def test_calls_beyond_the_rate_wait_and_others_pass_them(desk: Desk, broker: Broker) -> None:
    """Two an hour: the third waits for its turn as long as it has time, and takes nobody else's."""
    for _ in range(2):
        first = await desk.ending(await desk.send(desk.request("paced")))
        assert first.type is ReportType.REPORT
    third = await desk.send(desk.request("paced"))
    assert (await desk.run("noop")).exit_status == 0
    assert desk.of(third) == []
    await desk.bus.publish(desk.subjects.cancel(third.tool_run_id))
    cancelled = await desk.ending(third)
    assert cancelled.report is not None
    assert cancelled.report.status == "cancelled"
    assert desk.runs(third) == 0


async def test_the_toolbox_tells_rate_and_retries(desk: Desk) -> None:
    entries = await Bucket(desk.bus, desk.subjects.named("TOOLBOX")).entries("*.flaky")
    definition = msgspec.json.decode(entries[0].value, type=ToolboxEntry).definition
    assert (definition.retries, definition.retry_failures, definition.rate) == (3, False, None)
