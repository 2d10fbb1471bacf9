"""What a running system counts and measures."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import anyio
import msgspec
import pytest
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import TracerProvider

import vagus
from tests.kit.runners import Desk, served
from tests.kit.services import wait_until_empty
from tests.kit.system import System, system
from tests.kit.waiting import eventually
from vagus.contract.approvals import ApprovalDecision, Resolution
from vagus.contract.messages import Report, ReportType, Role, Verdict
from vagus.contract.subjects import Subjects
from vagus.runtime import telemetry
from vagus.runtime.bus import Bus
from vagus.runtime.embedded import EmbeddedServer
from vagus.runtime.provision import ensure
from vagus_toolrunner import gauges

POLICY = vagus.PolicySet(
    allow_capabilities=("*",),
    gate_capabilities=("fs:write:*",),
    max_tool_runtime_secs=60,
    max_events_per_turn=256,
)


@pytest.fixture
def reader() -> Iterator[InMemoryMetricReader]:
    found = InMemoryMetricReader()
    meters, tracing = MeterProvider(metric_readers=[found]), TracerProvider()
    telemetry.join(tracing, meters.get_meter("test"))
    yield found
    telemetry.shut_down()
    meters.shutdown()
    tracing.shutdown()


def points(reader: InMemoryMetricReader, name: str) -> list[Any]:
    """The data points of a metric so far."""
    data = reader.get_metrics_data()
    return [
        point
        for resource in (data.resource_metrics if data is not None else ())
        for scope in resource.scope_metrics
        for metric in scope.metrics
        if metric.name == name
        for point in metric.data.data_points
    ]


def late(reader: InMemoryMetricReader) -> dict[str, int]:
    """How many late answers there were, by their role."""
    return {p.attributes[telemetry.ROLE]: p.value for p in points(reader, telemetry.LATE_ANSWERS)}


async def test_every_turn_that_ends_is_measured_once(
    broker: EmbeddedServer, subjects: Subjects, tmp_path: Path, reader: InMemoryMetricReader
) -> None:
    def turns() -> int:
        measured = points(reader, telemetry.OPERATION_DURATION)
        mine = [p for p in measured if p.attributes == {telemetry.OPERATION: telemetry.INVOKE_AGENT}]
        return sum(point.count for point in mine)

    async with system(broker.url, subjects, tmp_path) as whole:
        session = await whole.client.create_session(owner="me", policy=POLICY)
        await session.tick("one", command_id="one")
        await session.tick("one", command_id="one")
        await session.tick(
            "two", tool=vagus.ToolCall(tool_name="fs.write", input={"path": "a", "content": ""})
        )
        (ticket,) = await eventually(lambda: whole.client.approvals(session.id))
        assert turns() == 2
        await whole.client.approve(ticket.approval_id, actor="me")
        await eventually(lambda: turns() == 3)


async def test_an_answer_to_what_has_ended_is_counted_and_not_logged(
    broker: EmbeddedServer, subjects: Subjects, tmp_path: Path, reader: InMemoryMetricReader
) -> None:
    answers: tuple[tuple[Role, msgspec.Struct], ...] = (
        (Role.VERDICT, Verdict(effect_id="gone", tool_run_id="gone", allowed=("x",), grant="x")),
        (Role.REPORT, Report(effect_id="gone", tool_run_id="gone", type=ReportType.STARTED)),
        (Role.REPORT, Report(effect_id="gone", tool_run_id="gone", type=ReportType.HARNESS_ERROR, error="x")),
        (Role.RESOLUTION, Resolution(approval_id="gone", decision=ApprovalDecision.APPROVED)),
    )
    async with system(broker.url, subjects, tmp_path) as whole:
        session = await whole.client.create_session(owner="me", policy=POLICY)
        head = (await session.tick("hello")).last_sequence
        assert late(reader) == {}
        for role, answer in answers:
            await whole.bus.store(subjects.inbox(role, session.id), msgspec.json.encode(answer))
        await wait_until_empty(whole.bus, subjects.named("INBOX"))
        await eventually(lambda: late(reader) == {"verdict": 1, "report": 2, "resolution": 1})
        assert len(await session.read_events(limit=1000)) == head


async def test_an_approval_that_waited_for_a_turn_which_took_its_call_along_is_counted(
    broker: EmbeddedServer, subjects: Subjects, tmp_path: Path, reader: InMemoryMetricReader
) -> None:
    """The call is cancelled while its approval waits for the end of the turn that made it."""
    calls = [
        {"call_id": "a", "tool_name": "fs.write", "input": {"path": "a", "content": ""}},
        {"call_id": "b", "tool_name": "shell.exec", "input": {"command": "sleep", "args": ["60"]}},
    ]
    script = tmp_path / "script.json"
    script.write_text(
        json.dumps({"*": [{"directives": [{"type": "tool_call", "call": call} for call in calls]}]})
    )
    settings = {"provider": f"scripted:{script}", "allowed_commands": "sleep"}
    async with system(broker.url, subjects, tmp_path, **settings) as whole:
        session = await whole.client.create_session(owner="me", policy=POLICY)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(session.tick, "both")
            await approved_beside_a_running_tool(whole, session)
            await session.cancel()
        await eventually(lambda: late(reader) == {"resolution": 1})
        assert (await session.verify()).ok


async def test_a_runner_shows_its_slots_what_it_runs_and_what_waits_since_when(
    broker: EmbeddedServer,
    subjects: Subjects,
    tmp_path: Path,
    reader: InMemoryMetricReader,
    bus: Bus,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(gauges, "POLL_S", 0.05)

    def shown(name: str) -> dict[tuple[Any, ...], float]:
        found = points(reader, name)
        return {(p.attributes["vagus.pool"], p.attributes.get("vagus.priority")): p.value for p in found}

    def all_shown() -> bool:
        depth = shown("vagus.toolrunner.queue.depth")
        ages = shown("vagus.toolrunner.queue.oldest_age")
        assert shown("vagus.toolrunner.slots") == {("default", None): 1}
        assert shown("vagus.toolrunner.in_flight") == {("default", None): 1}
        assert depth == {("default", "high"): 0, ("default", "normal"): 2, ("default", "low"): 1}
        assert ages["default", "normal"] > ages["default", "low"] > ages["default", "high"] == 0
        return True

    await ensure(bus, subjects, partitions=2)
    desk = Desk(bus, subjects, tmp_path)
    async with served(broker.url, desk.settings(slots=1, pools=("default",))):
        first = await desk.send(desk.request("once", {"seconds": 60}))
        await eventually(lambda: desk.runs(first))
        for priority in ("normal", "normal", "low"):
            await desk.send(desk.request("once", {"seconds": 0}), priority=priority)
        await eventually(all_shown)
        await bus.publish(subjects.cancel(first.tool_run_id))
        await wait_until_empty(bus, subjects.named("TOOLS"))
    assert shown("vagus.toolrunner.slots") == {}


async def approved_beside_a_running_tool(whole: System, session: vagus.Session) -> None:
    (ticket,) = await eventually(lambda: whole.client.approvals(session.id))

    async def runs() -> bool:
        return "ToolCallStarted" in [event.kind.type for event in await session.read_events(limit=1000)]

    await eventually(runs)
    await whole.client.approve(ticket.approval_id, actor="me")
