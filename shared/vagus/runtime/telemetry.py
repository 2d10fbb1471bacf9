"""Spans and metrics over OpenTelemetry, and every name they carry.

Off by default, and then nothing of OpenTelemetry is even imported: guard what costs something to prepare with
`if telemetry.enabled:`. `set_up` turns it on as the standard OTEL_* variables say; the SDK reads endpoint,
headers, sampler and resource from them by itself.

The context of a trace is the text of a W3C `traceparent`, because it must outlive processes: it travels in
message headers and is kept by queues and logs. It passes through processes whose telemetry is off.
"""

import logging
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, MutableMapping
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING, Any, Final, TypeAlias

from vagus.contract.errors import SettingsError
from vagus.contract.policy import SpanStatus

if TYPE_CHECKING:
    from opentelemetry.context import Context
    from opentelemetry.metrics import CallbackOptions, Meter, Observation
    from opentelemetry.sdk.metrics.export import MetricReader
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.trace import Span as OtelSpan
    from opentelemetry.trace import Tracer

_log = logging.getLogger(__name__)

Value: TypeAlias = str | bool | int | float
Attributes: TypeAlias = Mapping[str, Value]
Reading: TypeAlias = tuple[float, Attributes]
"""What a gauge shows of one thing."""

TRACEPARENT: Final = "traceparent"
"""The message header."""

# Spans ----------------------------------------------------------------------------------------------------

INVOKE_AGENT: Final = "invoke_agent"
LOOP_PHASE: Final = "loop_phase"
CHAT: Final = "chat"
EXECUTE_TOOL: Final = "execute_tool"
EVALUATE_POLICY: Final = "evaluate_policy"
RESOLVE_APPROVAL: Final = "resolve_approval"

# Attributes -----------------------------------------------------------------------------------------------

OPERATION: Final = "gen_ai.operation.name"
AGENT_NAME: Final = "gen_ai.agent.name"
AGENT_ID: Final = "gen_ai.agent.id"
SYSTEM: Final = "gen_ai.system"
MODEL: Final = "gen_ai.request.model"
TEMPERATURE: Final = "gen_ai.request.temperature"
INPUT_TOKENS: Final = "gen_ai.usage.input_tokens"
OUTPUT_TOKENS: Final = "gen_ai.usage.output_tokens"
FINISH_REASONS: Final = "gen_ai.response.finish_reasons"
TOKEN_TYPE: Final = "gen_ai.token.type"  # noqa: S105 - an attribute's name
TOOL_NAME: Final = "gen_ai.tool.name"
TOOL_CALL_ID: Final = "gen_ai.tool.call.id"
SESSION_ID: Final = "life.session_id"
OTEL_SESSION_ID: Final = "session.id"
THREAD_ID: Final = "langsmith.metadata.thread_id"
BRANCH_ID: Final = "life.branch_id"
RUN_ID: Final = "life.run_id"
PHASE: Final = "life.loop_phase"
MODE: Final = "life.operating_mode"
EVENT_SEQ: Final = "life.event_seq"
EVENT_KIND: Final = "life.event_kind"
TOOL_STATUS: Final = "life.tool.status"
TOOL_RUN_ID: Final = "life.tool.run_id"
TOOL_ATTEMPTS: Final = "vagus.toolrunner.attempts"
POLICY_DECISION: Final = "life.policy.decision"
POLICY_RULE: Final = "life.policy.rule_id"
POLICY_VERSION: Final = "life.policy.version"
APPROVAL_ID: Final = "life.approval.id"
APPROVAL_DECISION: Final = "life.approval.decision"
ROLE: Final = "vagus.role"
PROCESS: Final = "vagus.process"
STREAM: Final = "vagus.stream"
POOL: Final = "vagus.pool"
PRIORITY: Final = "vagus.priority"
SINK: Final = "vagus.sink"
MODE_FROM: Final = "life.mode.from"
MODE_TO: Final = "life.mode.to"
PROGRESS: Final = "life.state.progress"
UNCERTAINTY: Final = "life.state.uncertainty"
RISK_LEVEL: Final = "life.state.risk_level"
ERROR_STREAK: Final = "life.state.error_streak"
CONTEXT_PRESSURE: Final = "life.state.context_pressure"

# Metrics --------------------------------------------------------------------------------------------------

TOKEN_USAGE: Final = "gen_ai.client.token.usage"  # noqa: S105 - a metric's name
OPERATION_DURATION: Final = "gen_ai.client.operation.duration"
DURATION_BOUNDS: Final = (0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120)
TOOL_EXECUTIONS: Final = "life.tool.executions"
BUDGET_TOKENS: Final = "life.budget.tokens_remaining"
BUDGET_COST: Final = "life.budget.cost_remaining_usd"
MODE_TRANSITIONS: Final = "life.mode.transitions"
LATE_ANSWERS: Final = "vagus.kernel.late_answers"
COMMIT_DURATION: Final = "vagus.kernel.commit.duration"
COMMIT_BOUNDS: Final = (0.001, 0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)
COMMIT_CONFLICTS: Final = "vagus.kernel.commit.conflicts"
BREAKER_TRIPS: Final = "vagus.kernel.breaker.trips"
COST: Final = "vagus.kernel.cost"
DEAD_LETTERS: Final = "vagus.dead_letters"
APPROVALS_WAITING: Final = "vagus.approver.waiting"
STREAM_MESSAGES: Final = "vagus.stream.messages"
STREAM_AGE: Final = "vagus.stream.oldest_age"
RUNNER_SLOTS: Final = "vagus.toolrunner.slots"
RUNNER_IN_FLIGHT: Final = "vagus.toolrunner.in_flight"
QUEUE_DEPTH: Final = "vagus.toolrunner.queue.depth"
QUEUE_AGE: Final = "vagus.toolrunner.queue.oldest_age"
RELAYED_EVENTS: Final = "vagus.relay.events"
REPAIRED_COMMITS: Final = "vagus.relay.repaired"
RELAY_LAG: Final = "vagus.relay.lag"
RELAY_BEHIND: Final = "vagus.relay.behind"
RELAY_SESSIONS: Final = "vagus.relay.sessions"
SINK_LAG: Final = "vagus.sink.lag"
SINK_HELD: Final = "vagus.sink.held"
SINK_DELIVERED: Final = "vagus.sink.delivered"
SINK_FAILED: Final = "vagus.sink.failed"
SINK_RETRIES: Final = "vagus.sink.retries"

enabled: bool = False
"""Whether anything is recorded. Read it as `telemetry.enabled`: it changes."""

_SCOPE: Final = "vagus"
_CONTEXT = re.compile(r"00-(?!0{32})([0-9a-f]{32})-(?!0{16})([0-9a-f]{16})-([0-9a-f]{2})(?![\s\S])", re.ASCII)
_tracer: "Tracer | None" = None
_instruments: "_Instruments | None" = None
_closers: list[Callable[[], object]] = []


class Span:
    """A span that runs; costs next to nothing when telemetry is off, and then stands for its parent."""

    __slots__ = ("_otel", "context")

    context: str | None
    """The traceparent to send on: this span's, or its parent's when telemetry is off."""

    def __init__(self, otel: "OtelSpan | None", parent: str | None) -> None:
        self._otel = otel
        self.context = parent
        if otel is not None:
            own = otel.get_span_context()
            if own.is_valid:
                self.context = f"00-{own.trace_id:032x}-{own.span_id:016x}-{own.trace_flags:02x}"

    def set(self, name: str, value: Value) -> None:
        """Set an attribute."""
        if self._otel is not None:
            self._otel.set_attribute(name, value)

    def event(self, name: str, attributes: Attributes | None = None) -> None:
        """Note that something happened within the span."""
        if self._otel is not None:
            self._otel.add_event(name, attributes)

    def fail(self, text: str) -> None:
        """Mark the span as failed."""
        if self._otel is not None:
            from opentelemetry.trace import StatusCode

            self._otel.set_status(StatusCode.ERROR, text)

    def end(self, at_ns: int | None = None) -> None:
        """End the span, now or at `at_ns` (nanoseconds since the epoch); only the first end counts."""
        if self._otel is not None and self._otel.is_recording():
            self._otel.end(at_ns)


def start_span(
    name: str, attributes: Attributes | None = None, parent: str | None = None, *, at_ns: int | None = None
) -> Span:
    """Start a span that outlives a block; the caller ends it. `parent` is a traceparent."""
    if _tracer is None:
        return Span(None, parent)
    return Span(_tracer.start_span(name, _remote(parent), attributes=attributes, start_time=at_ns), parent)


@contextmanager
def span(name: str, attributes: Attributes | None = None, parent: str | None = None) -> Iterator[Span]:
    """A span over the body, and the ambient one for code in it that uses OpenTelemetry itself.

    An exception marks it as failed and goes on. Where a body runs thousands of times a second, use
    `start_span` and `end` under `if telemetry.enabled`.
    """
    if _tracer is None:
        yield Span(None, parent)
        return
    from opentelemetry.trace import use_span

    started = _tracer.start_span(name, _remote(parent), attributes=attributes)
    with use_span(started, end_on_exit=True):
        yield Span(started, parent)


def inject(headers: MutableMapping[str, str], context: str | None = None) -> None:
    """Put a traceparent into message headers: `context`, else the ambient span's, else nothing."""
    context = context if context is not None else ambient()
    if context is not None:
        headers[TRACEPARENT] = context


def extract(headers: Mapping[str, str]) -> str | None:
    """The traceparent in message headers; None if there is none or it is malformed."""
    context = headers.get(TRACEPARENT)
    return context if context is not None and _CONTEXT.match(context) else None


def ids(context: str | None) -> tuple[str, str] | None:
    """The trace id and span id (hex) of a traceparent, as events carry them."""
    found = _CONTEXT.match(context) if context else None
    return (found[1], found[2]) if found else None


def ambient() -> str | None:
    """The traceparent of the span that the calling code runs in."""
    if not enabled:
        return None
    from opentelemetry.trace import get_current_span

    return Span(get_current_span(), None).context


# Recording ------------------------------------------------------------------------------------------------


def record_tokens(model: str, prompt_tokens: int, completion_tokens: int) -> None:
    """Tokens of one model call."""
    if _instruments is not None:
        shared = {MODEL: model, OPERATION: CHAT}
        _instruments.tokens.record(prompt_tokens, {**shared, TOKEN_TYPE: "input"})
        _instruments.tokens.record(completion_tokens, {**shared, TOKEN_TYPE: "output"})


def record_duration(operation: str, seconds: float, model: str | None = None) -> None:
    """How long an operation (`chat`, `invoke_agent`, `execute_tool`) took."""
    if _instruments is not None:
        attributes = {OPERATION: operation} if model is None else {OPERATION: operation, MODEL: model}
        _instruments.duration.record(seconds, attributes)


def record_tool(tool_name: str, status: SpanStatus) -> None:
    """One tool run has ended."""
    if _instruments is not None:
        _instruments.tools.add(1, {TOOL_NAME: tool_name, TOOL_STATUS: status.value})


def record_budget(tokens_remaining: int, cost_remaining_usd: float) -> None:
    """What a branch may still spend."""
    if _instruments is not None:
        _instruments.budget_tokens.set(tokens_remaining)
        _instruments.budget_cost.set(cost_remaining_usd)


def record_mode(before: str, after: str) -> None:
    """A branch's mode has changed."""
    if _instruments is not None:
        _instruments.modes.add(1, {MODE_FROM: before, MODE_TO: after})


def record_late(role: str) -> None:
    """An answer (verdict, report or resolution: its role) came to what had ended: only this tells of it."""
    if _instruments is not None:
        _instruments.late.add(1, {ROLE: role})


def record_commit(seconds: float) -> None:
    """A commit stands on a log: how long the server took to say so."""
    if _instruments is not None:
        _instruments.commits.record(seconds)


def show_kernel() -> None:
    """Show the counters of a kernel as 0: else what happens first is no increase to whoever watches."""
    if _instruments is not None:
        for counter in (_instruments.conflicts, _instruments.trips, _instruments.cost):
            counter.add(0)


def record_conflict() -> None:
    """A commit was refused, because another kernel has written: it owns the session now."""
    if _instruments is not None:
        _instruments.conflicts.add(1)


def record_trip() -> None:
    """The circuit breaker of a branch has opened."""
    if _instruments is not None:
        _instruments.trips.add(1)


def record_cost(usd: float) -> None:
    """A turn has cost so much."""
    if _instruments is not None:
        _instruments.cost.add(usd)


def record_dead_letter(process: str) -> None:
    """A kind of process could not handle a message."""
    if _instruments is not None:
        _instruments.dead.add(1, {PROCESS: process})


def record_relayed(events: int) -> None:
    """So many events were put into the firehose."""
    if _instruments is not None:
        _instruments.relayed.add(events)


def record_repaired(commits: int) -> None:
    """So many commits were found that no hint had told of."""
    if _instruments is not None and commits:
        _instruments.repaired.add(commits)


def measuring() -> bool:
    """Whether metrics are recorded."""
    return _instruments is not None


@contextmanager
def observed(gauges: Mapping[str, Callable[[], Iterable[Reading]]]) -> Iterator[None]:
    """Gauges that are read whenever metrics are collected, by another thread, while the block lasts."""
    instruments = _instruments
    if instruments is None:
        yield
        return
    for name, read in gauges.items():
        instruments.observe(name, read)
    try:
        yield
    finally:
        for name, read in gauges.items():
            instruments.forget(name, read)


# Setting up -----------------------------------------------------------------------------------------------


def set_up(service: str, environ: Mapping[str, str], *, instance: str = "") -> None:
    """Start recording if the OTEL_* variables in `environ` name an exporter; `service` is the default name.

    OTEL_TRACES_EXPORTER and OTEL_METRICS_EXPORTER are lists of `console`, `otlp`, `none` or any installed
    exporter's name; where unset, `otlp` if an OTLP endpoint is set, else `none`. Raises SettingsError on an
    unknown or missing exporter. Call once; `shut_down` undoes it.
    """
    global enabled, _tracer, _instruments  # OpenTelemetry itself is one per process
    if environ.get("OTEL_SDK_DISABLED", "").strip().lower() == "true":
        return
    spans = _exporters("OTEL_TRACES_EXPORTER", "opentelemetry_traces_exporter", environ)
    readings = _exporters("OTEL_METRICS_EXPORTER", "opentelemetry_metrics_exporter", environ)
    if not spans and not readings:
        return
    from opentelemetry.sdk.resources import Resource

    resource = Resource.create(
        {
            "service.name": environ.get("OTEL_SERVICE_NAME") or service,
            **({"service.instance.id": instance} if instance else {}),
        }
    )
    if spans:
        from opentelemetry import trace
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor

        tracing: TracerProvider = TracerProvider(resource=resource)
        for make in spans:
            tracing.add_span_processor(BatchSpanProcessor(make()))
        trace.set_tracer_provider(tracing)  # so that tools which use OpenTelemetry themselves join in
        _tracer = tracing.get_tracer(_SCOPE)
        _closers.append(tracing.shutdown)
    if readings:
        from opentelemetry import metrics
        from opentelemetry.sdk.metrics import MeterProvider
        from opentelemetry.sdk.metrics.export import PeriodicExportingMetricReader

        readers: list[MetricReader] = [PeriodicExportingMetricReader(make()) for make in readings]
        metering = MeterProvider(metric_readers=readers, resource=resource)
        metrics.set_meter_provider(metering)
        _instruments = _Instruments(metering.get_meter(_SCOPE))
        _closers.append(metering.shutdown)
    enabled = True


def join(tracing: "TracerProvider", meter: "Meter | None" = None) -> None:
    """Record to providers that the application around us has set up; they stay its own to shut down."""
    global enabled, _tracer, _instruments
    _tracer = tracing.get_tracer(_SCOPE)
    _instruments = _Instruments(meter) if meter is not None else None
    enabled = True


def shut_down() -> None:
    """Export what is left and stop recording. Blocks for as long as the exporters take; harmless when off."""
    global enabled, _tracer, _instruments
    enabled, _tracer, _instruments = False, None, None
    while _closers:
        try:
            _closers.pop()()
        except Exception as error:  # a broken exporter must not fail the process at its end
            _log.warning("telemetry did not shut down cleanly: %s", error)


class _Instruments:
    """Every instrument, made once."""

    def __init__(self, meter: "Meter") -> None:
        self.tokens = meter.create_histogram(TOKEN_USAGE, unit="token")
        self.duration = meter.create_histogram(
            OPERATION_DURATION, unit="s", explicit_bucket_boundaries_advisory=DURATION_BOUNDS
        )
        self.tools = meter.create_counter(TOOL_EXECUTIONS)
        self.budget_tokens = meter.create_gauge(BUDGET_TOKENS, unit="token")
        self.budget_cost = meter.create_gauge(BUDGET_COST, unit="USD")
        self.modes = meter.create_counter(MODE_TRANSITIONS)
        self.late = meter.create_counter(LATE_ANSWERS)
        self.commits = meter.create_histogram(
            COMMIT_DURATION, unit="s", explicit_bucket_boundaries_advisory=COMMIT_BOUNDS
        )
        self.conflicts = meter.create_counter(COMMIT_CONFLICTS)
        self.trips = meter.create_counter(BREAKER_TRIPS)
        self.cost = meter.create_counter(COST, unit="USD")
        self.dead = meter.create_counter(DEAD_LETTERS)
        self.relayed = meter.create_counter(RELAYED_EVENTS)
        self.repaired = meter.create_counter(REPAIRED_COMMITS)
        self._meter = meter
        self._read: dict[str, list[Callable[[], Iterable[Reading]]]] = {}

    def observe(self, name: str, read: Callable[[], Iterable[Reading]]) -> None:
        """Show what `read` gives under this name."""
        if name not in self._read:
            self._read[name] = []
            unit = "s" if name in (QUEUE_AGE, RELAY_LAG, SINK_LAG, STREAM_AGE) else ""
            self._meter.create_observable_gauge(
                name, callbacks=[partial(self._observations, name)], unit=unit
            )
        self._read[name].append(read)

    def forget(self, name: str, read: Callable[[], Iterable[Reading]]) -> None:
        """Show it no more: an instrument itself cannot be taken back."""
        self._read[name].remove(read)

    def _observations(self, name: str, _: "CallbackOptions") -> "Iterable[Observation]":
        from opentelemetry.metrics import Observation

        readings = [reading for read in tuple(self._read[name]) for reading in read()]
        return [Observation(value, attributes) for value, attributes in readings]


def _remote(parent: str | None) -> "Context | None":
    found = _CONTEXT.match(parent) if parent else None
    if found is None:
        return None  # the ambient span, or a new trace
    from opentelemetry.trace import NonRecordingSpan, SpanContext, TraceFlags, set_span_in_context

    trace_id, span_id, flags = (int(part, 16) for part in found.groups())
    remote = SpanContext(trace_id, span_id, is_remote=True, trace_flags=TraceFlags(flags))
    return set_span_in_context(NonRecordingSpan(remote))


def _exporters(variable: str, group: str, environ: Mapping[str, str]) -> list[Callable[[], Any]]:
    signal = variable.split("_")[1]
    endpoints = ("OTEL_EXPORTER_OTLP_ENDPOINT", f"OTEL_EXPORTER_OTLP_{signal}_ENDPOINT")
    default = "otlp" if any(environ.get(name) for name in endpoints) else "none"
    wanted = [name.strip() for name in (environ.get(variable) or default).split(",")]
    return [
        _exporter(variable, group, name, _entry(name, signal, environ)) for name in wanted if name != "none"
    ]


def _entry(name: str, signal: str, environ: Mapping[str, str]) -> str:
    if name != "otlp":
        return name
    protocol = environ.get(f"OTEL_EXPORTER_OTLP_{signal}_PROTOCOL") or environ.get(
        "OTEL_EXPORTER_OTLP_PROTOCOL"
    )
    return "otlp_proto_grpc" if protocol == "grpc" else "otlp_proto_http"


def _exporter(variable: str, group: str, name: str, entry: str) -> Callable[[], Any]:
    from importlib.metadata import entry_points

    for found in entry_points(group=group, name=entry):
        make: Callable[[], Any] = found.load()
        return make
    advice = "install vagus[otlp]" if entry == "otlp_proto_http" else f"no installed package offers {entry!r}"
    raise SettingsError(
        f"{variable}={name!r}: must be a list of console, otlp, none or an installed exporter; {advice}"
    )
