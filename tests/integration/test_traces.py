"""One tick, one trace: across kernel, gate and runner, and stamped on the events."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

import vagus
from tests.kit.system import system
from tests.kit.waiting import eventually
from vagus.contract.subjects import Subjects
from vagus.runtime import telemetry
from vagus.runtime.embedded import EmbeddedServer

POLICY = vagus.PolicySet.preset("pro")
WRITE = vagus.ToolCall(tool_name="fs.write", input={"path": "a.txt", "content": "hi"})


@pytest.fixture
def spans() -> Iterator[InMemorySpanExporter]:
    exporter = InMemorySpanExporter()
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    reader = InMemoryMetricReader()
    meters = MeterProvider([reader])
    exporter.reader = reader  # type: ignore[attr-defined]
    telemetry.join(provider, meters.get_meter("test"))
    yield exporter
    telemetry.shut_down()


def parent_of(span: ReadableSpan, all_spans: tuple[ReadableSpan, ...]) -> str | None:
    for other in all_spans:
        if span.parent is not None and other.context.span_id == span.parent.span_id:
            return other.name
    return None


async def test_a_tool_tick_is_one_trace_through_all_processes(
    broker: EmbeddedServer, subjects: Subjects, tmp_path: Path, spans: InMemorySpanExporter
) -> None:
    async with system(broker.url, subjects, tmp_path) as whole:
        session = await whole.client.create_session(owner="me", policy=POLICY)
        await session.tick("write", tool=WRITE)
        await session.tick("say something")

        def turns() -> int:
            return [span.name for span in spans.get_finished_spans()].count(telemetry.INVOKE_AGENT)

        await eventually(lambda: turns() == 2)
        events = await session.read_events(limit=1000)
    finished = spans.get_finished_spans()
    tool = next(span for span in finished if span.name == telemetry.EXECUTE_TOOL)
    trace = tuple(span for span in finished if span.context.trace_id == tool.context.trace_id)
    names = [span.name for span in trace]
    assert {telemetry.INVOKE_AGENT, telemetry.LOOP_PHASE, telemetry.EVALUATE_POLICY} <= set(names)
    phases = [str(s.attributes[telemetry.PHASE]) for s in trace if s.name == telemetry.LOOP_PHASE]
    assert phases == ["perceive", "deliberate", "gate", "execute", "commit", "reflect"]
    execute = next(
        s for s in trace if s.name == telemetry.LOOP_PHASE and s.attributes[telemetry.PHASE] == "execute"
    )
    assert execute.start_time <= tool.start_time
    assert parent_of(tool, trace) == telemetry.LOOP_PHASE
    assert telemetry.CHAT in [span.name for span in finished]
    stamped = {event.trace_id for event in events if event.correlation_id == events[-1].correlation_id}
    assert len(stamped) == 1
    assert None not in stamped
    data = spans.reader.get_metrics_data()  # type: ignore[attr-defined]
    recorded = {
        metric.name
        for resource in data.resource_metrics
        for scope in resource.scope_metrics
        for metric in scope.metrics
    }
    assert {
        telemetry.TOOL_EXECUTIONS,
        telemetry.BUDGET_TOKENS,
        telemetry.BUDGET_COST,
        telemetry.MODE_TRANSITIONS,
        telemetry.OPERATION_DURATION,
        telemetry.TOKEN_USAGE,
    } <= recorded
