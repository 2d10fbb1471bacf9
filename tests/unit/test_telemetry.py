"""Telemetry: off and free by default; spans, contexts and instruments when on."""

import subprocess
import sys
from collections.abc import Iterator

import pytest
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import get_current_span

from vagus.contract.errors import SettingsError
from vagus.contract.policy import SpanStatus
from vagus.runtime import telemetry

PARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


@pytest.fixture
def spans() -> Iterator[InMemorySpanExporter]:
    exporter, provider = InMemorySpanExporter(), TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    telemetry.join(provider)
    yield exporter
    telemetry.shut_down()
    provider.shutdown()


@pytest.fixture
def metrics() -> Iterator[InMemoryMetricReader]:
    reader = InMemoryMetricReader()
    provider, tracing = MeterProvider(metric_readers=[reader]), TracerProvider()
    telemetry.join(tracing, provider.get_meter("test"))
    yield reader
    telemetry.shut_down()
    provider.shutdown()
    tracing.shutdown()


# Off ------------------------------------------------------------------------------------------------------


def test_it_is_off_until_somebody_asks_and_then_imports_nothing() -> None:
    script = (
        "import sys\n"
        "from vagus.runtime import telemetry\n"
        "telemetry.set_up('vagus-kernel', {})\n"
        "with telemetry.span('x') as s: s.set('a', 1)\n"
        "telemetry.start_span('y').end()\n"
        "telemetry.record_tool('t', 'ok')\n"
        "assert not telemetry.enabled\n"
        "assert not any(name.startswith('opentelemetry') for name in sys.modules), 'imported'\n"
    )
    subprocess.run([sys.executable, "-c", script], check=True, timeout=30)


@pytest.mark.parametrize(
    "environ",
    [
        {},
        {
            "OTEL_TRACES_EXPORTER": "none",
            "OTEL_EXPORTER_OTLP_ENDPOINT": "http://h",
            "OTEL_METRICS_EXPORTER": "none",
        },
        {"OTEL_TRACES_EXPORTER": "console", "OTEL_SDK_DISABLED": "true"},
    ],
)
def test_it_stays_off_where_the_variables_say_so(environ: dict[str, str]) -> None:
    telemetry.set_up("vagus-kernel", environ)
    assert not telemetry.enabled


def test_when_off_a_trace_passes_through() -> None:
    with telemetry.span("x", parent=PARENT) as span:
        span.set("a", 1)
        span.event("b")
        span.fail("c")
        assert span.context == PARENT
    started = telemetry.start_span("y", parent=PARENT)
    headers: dict[str, str] = {}
    telemetry.inject(headers, started.context)
    assert headers == {"traceparent": PARENT}
    telemetry.inject(headers := {})
    assert headers == {}


# Contexts -------------------------------------------------------------------------------------------------


def test_a_context_is_read_from_headers_and_split_into_ids() -> None:
    assert telemetry.extract({"traceparent": PARENT}) == PARENT
    assert telemetry.ids(PARENT) == ("0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331")
    assert telemetry.ids(None) is None


@pytest.mark.parametrize(
    "text",
    [
        "",
        "x",
        PARENT + "\n",
        PARENT.upper(),
        "00-00000000000000000000000000000000-b7ad6b7169203331-01",
        "00-0af7651916cd43dd8448eb211c80319c-0000000000000000-01",
        PARENT + "-more",
    ],
)
def test_a_malformed_context_is_none(text: str) -> None:
    assert telemetry.extract({"traceparent": text}) is None
    assert telemetry.ids(text) is None


# On -------------------------------------------------------------------------------------------------------


def test_a_span_has_its_remote_parent_attributes_and_times(spans: InMemorySpanExporter) -> None:
    span = telemetry.start_span(telemetry.LOOP_PHASE, {telemetry.PHASE: "gate"}, PARENT, at_ns=1_000)
    span.set(telemetry.SESSION_ID, "s")
    span.end(at_ns=3_000)
    span.end(at_ns=9_000)
    (seen,) = spans.get_finished_spans()
    assert seen.name == "loop_phase"
    assert dict(seen.attributes or {}) == {"life.loop_phase": "gate", "life.session_id": "s"}
    assert (seen.start_time, seen.end_time) == (1_000, 3_000)
    assert seen.parent is not None
    assert seen.parent.is_remote
    assert telemetry.ids(span.context) == (f"{seen.context.trace_id:032x}", f"{seen.context.span_id:016x}")
    assert telemetry.ids(span.context) != telemetry.ids(PARENT)
    assert span.context is not None
    assert span.context.startswith("00-0af7651916cd43dd8448eb211c80319c-")


def test_a_block_is_the_ambient_span_of_what_runs_in_it(spans: InMemorySpanExporter) -> None:
    with telemetry.span("outer") as outer:
        assert telemetry.ambient() == outer.context
        with telemetry.span("inner"):
            headers: dict[str, str] = {}
            telemetry.inject(headers)
            assert headers["traceparent"] == telemetry.ambient()
            assert get_current_span().get_span_context().is_valid
    inner, seen = spans.get_finished_spans()
    assert inner.parent is not None
    assert inner.parent.span_id == seen.context.span_id
    assert telemetry.ambient() is None


def test_an_error_marks_its_span_and_goes_on(spans: InMemorySpanExporter) -> None:
    with pytest.raises(ValueError, match="x"), telemetry.span("failing"):
        raise ValueError("x")
    (seen,) = spans.get_finished_spans()
    assert not seen.status.is_ok


def test_a_sampler_that_says_no_records_nothing_and_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTEL_TRACES_SAMPLER", "always_off")
    exporter, provider = InMemorySpanExporter(), TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    telemetry.join(provider)
    try:
        with telemetry.span("x") as span:
            assert span.context is not None
            assert int(span.context[-2:], 16) & 1 == 0
    finally:
        telemetry.shut_down()
        provider.shutdown()
    assert exporter.get_finished_spans() == ()


def test_every_instrument_has_its_name_unit_and_attributes(metrics: InMemoryMetricReader) -> None:
    telemetry.record_tokens("m", 8, 12)
    telemetry.record_duration(telemetry.CHAT, 0.3, "m")
    telemetry.record_duration(telemetry.INVOKE_AGENT, 1.5)
    telemetry.record_tool("fs.read", SpanStatus.TIMEOUT)
    telemetry.record_budget(100, 4.5)
    telemetry.record_mode("explore", "verify")
    telemetry.record_late("verdict")
    data = metrics.get_metrics_data()
    assert data is not None
    seen = {
        metric.name: (metric.unit, [dict(point.attributes or {}) for point in metric.data.data_points])
        for resource in data.resource_metrics
        for scope in resource.scope_metrics
        for metric in scope.metrics
    }
    chat = {"gen_ai.operation.name": "chat", "gen_ai.request.model": "m"}
    assert seen == {
        "gen_ai.client.token.usage": (
            "token",
            [{**chat, "gen_ai.token.type": "input"}, {**chat, "gen_ai.token.type": "output"}],
        ),
        "gen_ai.client.operation.duration": ("s", [chat, {"gen_ai.operation.name": "invoke_agent"}]),
        "life.tool.executions": ("", [{"gen_ai.tool.name": "fs.read", "life.tool.status": "timeout"}]),
        "life.budget.tokens_remaining": ("token", [{}]),
        "life.budget.cost_remaining_usd": ("USD", [{}]),
        "life.mode.transitions": ("", [{"life.mode.from": "explore", "life.mode.to": "verify"}]),
        "vagus.kernel.late_answers": ("", [{"vagus.role": "verdict"}]),
    }


# Setting up -----------------------------------------------------------------------------------------------


def test_the_console_exporter_prints_spans_and_metrics_with_our_service_name() -> None:
    script = (
        "from vagus.runtime import telemetry\n"
        "environ = {'OTEL_TRACES_EXPORTER': 'console', 'OTEL_METRICS_EXPORTER': 'console'}\n"
        "telemetry.set_up('vagus-kernel', environ, instance='k1')\n"
        "assert telemetry.enabled\n"
        "telemetry.record_budget(7, 1.0)\n"
        "with telemetry.span('execute_tool'): pass\n"
        "telemetry.shut_down()\n"
        "assert not telemetry.enabled\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], check=True, timeout=60, capture_output=True, text=True
    )
    for said in (
        "execute_tool",
        "vagus-kernel",
        '"service.instance.id": "k1"',
        "life.budget.tokens_remaining",
    ):
        assert said in done.stdout


@pytest.mark.parametrize(
    "environ",
    [
        {"OTEL_TRACES_EXPORTER": "jaeger"},
        {"OTEL_METRICS_EXPORTER": "console, nonsense"},
        {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:1", "OTEL_EXPORTER_OTLP_PROTOCOL": "grpc"},
    ],
)
def test_an_exporter_that_is_not_there_is_named_with_variable_and_rule(environ: dict[str, str]) -> None:
    with pytest.raises(
        SettingsError, match=r"OTEL_(TRACES|METRICS)_EXPORTER='\w+': must be a list of console"
    ):
        telemetry.set_up("vagus-kernel", environ)
    assert not telemetry.enabled
