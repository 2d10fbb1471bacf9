"""A program that traces itself sees what Vagus does for it in its own traces."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

import vagus
from tests.kit.system import system
from tests.kit.waiting import eventually
from vagus.contract.subjects import Subjects
from vagus.runtime import telemetry
from vagus.runtime.embedded import EmbeddedServer

POLICY = vagus.PolicySet(
    allow_capabilities=(),
    gate_capabilities=("fs:write:*",),
    max_tool_runtime_secs=60,
    max_events_per_turn=256,
)


@pytest.fixture
def spans() -> Iterator[InMemorySpanExporter]:
    exporter, provider = InMemorySpanExporter(), TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    telemetry.join(provider)
    yield exporter
    telemetry.shut_down()
    provider.shutdown()


def named(spans: InMemorySpanExporter, name: str) -> list[ReadableSpan]:
    return [span for span in spans.get_finished_spans() if span.name == name]


async def test_ticks_and_approvals_join_the_trace_of_the_program_that_asks_for_them(
    broker: EmbeddedServer, subjects: Subjects, tmp_path: Path, spans: InMemorySpanExporter
) -> None:
    async with system(broker.url, subjects, tmp_path) as whole:
        session = await whole.client.create_session(owner="me", policy=POLICY)
        call = vagus.ToolCall(tool_name="fs.write", input={"path": "a", "content": ""})
        with telemetry.span("mine") as mine:
            output = await session.tick("write", tool=call)
            await whole.client.approve(output.pending_approvals[0].approval_id, actor="me")
        await eventually(lambda: len(named(spans, telemetry.INVOKE_AGENT)) == 2)
    wanted = (telemetry.INVOKE_AGENT, telemetry.EXECUTE_TOOL, telemetry.RESOLVE_APPROVAL)
    traces = {
        f"{span.context.trace_id:032x}" for name in wanted for span in named(spans, name) if span.context
    }
    found = telemetry.ids(mine.context)
    assert found is not None
    assert traces == {found[0]}
