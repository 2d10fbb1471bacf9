"""What operators are told in numbers: commits and their conflicts, costs, dead letters, approvals, queues."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import TracerProvider

import vagus
from tests.kit.events import records
from tests.kit.system import system
from tests.kit.waiting import eventually
from vagus.contract.events import BudgetUpdated, CircuitBreakerTripped
from vagus.contract.messages import Role
from vagus.contract.state import BudgetState
from vagus.contract.subjects import Subjects
from vagus.runtime import telemetry
from vagus.runtime.bus import Bus
from vagus.runtime.embedded import EmbeddedServer
from vagus.runtime.provision import ensure
from vagus.runtime.queuegauges import queues_shown
from vagus_kernel.spans import TurnSpans

POLICY = vagus.PolicySet(
    allow_capabilities=("*",),
    gate_capabilities=("fs:write:*",),
    max_tool_runtime_secs=60,
    max_events_per_turn=256,
)


class Meters:
    """What has been recorded."""

    def __init__(self, reader: InMemoryMetricReader) -> None:
        self._reader = reader

    def points(self, name: str) -> dict[str, Any]:
        """The latest point of a metric by the value of its one attribute; of none: empty text."""
        data = self._reader.get_metrics_data()
        return {
            ",".join(str(value) for value in (point.attributes or {}).values()): point
            for resource in (data.resource_metrics if data is not None else ())
            for scope in resource.scope_metrics
            for metric in scope.metrics
            if metric.name == name
            for point in metric.data.data_points
        }

    def values(self, name: str) -> dict[str, float]:
        """As `points`, of counters and gauges."""
        return {key: point.value for key, point in self.points(name).items()}


@pytest.fixture
def meters() -> Iterator[Meters]:
    reader = InMemoryMetricReader()
    metering, tracing = MeterProvider(metric_readers=[reader]), TracerProvider()
    telemetry.join(tracing, metering.get_meter("test"))
    yield Meters(reader)
    telemetry.shut_down()
    metering.shutdown()
    tracing.shutdown()


async def test_commits_are_timed_and_what_waits_is_counted(
    broker: EmbeddedServer, subjects: Subjects, tmp_path: Path, meters: Meters
) -> None:
    async with system(broker.url, subjects, tmp_path) as whole:
        session = await whole.client.create_session(owner="me", policy=POLICY)
        call = vagus.ToolCall(tool_name="fs.write", input={"path": "a", "content": ""})
        assert (await session.tick("write", tool=call)).reason == "awaiting_approval"
        commits = meters.points(telemetry.COMMIT_DURATION)[""]
        assert commits.count >= 3
        assert commits.sum > 0
        nothing_yet = {"": 0}  # shown before it happens, so that the first is an increase
        assert meters.values(telemetry.COMMIT_CONFLICTS) == nothing_yet
        assert meters.values(telemetry.BREAKER_TRIPS) == nothing_yet
        assert meters.values(telemetry.COST) == nothing_yet
        await eventually(lambda: meters.values(telemetry.APPROVALS_WAITING) == {"": 1})
        await whole.bus.store(subjects.inbox(Role.COMMAND, session.id), b"nonsense")
        await eventually(lambda: meters.values(telemetry.DEAD_LETTERS) == {"kernel": 1})
        async with queues_shown(whole.bus, subjects):
            waiting = await eventually(lambda: _told(meters))
        assert waiting["DEAD"] == 1
        assert waiting["GATE"] == 0


def _told(meters: Meters) -> dict[str, float]:
    found = meters.values(telemetry.STREAM_MESSAGES)
    assert set(meters.values(telemetry.STREAM_AGE)) == set(found) >= {"INBOX", "DEAD"}
    return found


async def test_an_input_without_an_end_grows_old_and_is_seen_to(
    bus: Bus, subjects: Subjects, meters: Meters
) -> None:
    await ensure(bus, subjects, partitions=1)
    await bus.store(subjects.inbox(Role.COMMAND, "s"), b"waits")
    async with queues_shown(bus, subjects):
        await eventually(lambda: meters.values(telemetry.STREAM_AGE).get("INBOX", 0) > 0, timeout_s=40)
    assert meters.values(telemetry.STREAM_AGE) == {}


def test_a_turn_costs_what_its_budget_fell_by_and_trips_are_counted(meters: Meters) -> None:
    spans = TurnSpans("s", "main")

    def left(usd: float) -> BudgetState:
        return msgspec.structs.replace(BudgetState(), cost_remaining_usd=usd)

    spans.record(records(BudgetUpdated(budget=left(5.0), reason="r")))
    assert meters.values(telemetry.COST) == {}
    spans.record(records(BudgetUpdated(budget=left(4.5), reason="r")))
    spans.record(records(BudgetUpdated(budget=left(9.0), reason="extended")))
    spans.record(records(BudgetUpdated(budget=left(8.75), reason="r")))
    assert meters.values(telemetry.COST) == {"": 0.75}
    spans.record(records(CircuitBreakerTripped(reason="r", error_streak=3)))
    assert meters.values(telemetry.BREAKER_TRIPS) == {"": 1}
