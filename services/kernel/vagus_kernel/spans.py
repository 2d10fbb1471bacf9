"""What turns look like to OpenTelemetry: spans that cover their phases, and the metrics of a turn."""

import time
from collections.abc import Iterable

from vagus.contract.clock import parse
from vagus.contract.events import (
    BudgetUpdated,
    CircuitBreakerTripped,
    EventRecord,
    ModeChanged,
    PhaseEntered,
    StateEstimated,
    ToolCallCompleted,
)
from vagus.contract.state import BudgetState, LoopPhase
from vagus.runtime import telemetry
from vagus.runtime.telemetry import Span


class TurnSpans:
    """The spans of one branch: `invoke_agent` over a turn, `loop_phase` over each of its phases."""

    def __init__(self, session_id: str, branch_id: str) -> None:
        self._attributes: dict[str, str] = {
            telemetry.SESSION_ID: session_id,
            telemetry.OTEL_SESSION_ID: session_id,
            telemetry.BRANCH_ID: branch_id,
        }
        self._turn: Span | None = None
        self._began = 0.0
        self._phase: Span | None = None
        self._left_usd: float | None = None

    @property
    def context(self) -> str | None:
        """The traceparent for what the turn causes."""
        for span in (self._phase, self._turn):
            if span is not None and span.context is not None:
                return span.context
        return None

    def begin(self, traceparent: str | None) -> None:
        """A turn begins, or is taken over from another kernel."""
        if self._turn is None:
            self._began = time.monotonic()
            attributes = {
                **self._attributes,
                telemetry.OPERATION: telemetry.INVOKE_AGENT,
                telemetry.AGENT_NAME: "vagus",
                telemetry.AGENT_ID: self._attributes[telemetry.SESSION_ID],
                telemetry.THREAD_ID: self._attributes[telemetry.SESSION_ID],
            }
            self._turn = telemetry.start_span(telemetry.INVOKE_AGENT, attributes, traceparent)

    def record(self, records: Iterable[EventRecord]) -> None:
        """Events were committed."""
        if not telemetry.enabled:
            return
        for record in records:
            match record.kind:
                case PhaseEntered(phase=phase):
                    self._enter(phase, parse(record.timestamp))
                case StateEstimated(state=state, mode=mode) if self._phase is not None:
                    self._phase.set(telemetry.MODE, mode.value)
                    self._phase.set(telemetry.ERROR_STREAK, state.error_streak)
                    self._spend(state.budget)
                case BudgetUpdated(budget=budget):
                    self._spend(budget)
                case CircuitBreakerTripped():
                    telemetry.record_trip()
                case ModeChanged(from_=before, to=after):
                    telemetry.record_mode(before.value, after.value)
                case ToolCallCompleted(tool_name=name, status=status):
                    telemetry.record_tool(name, status)

    def _spend(self, budget: BudgetState) -> None:
        """Tell what is left, and what that is less than it was. A turn begins with telling what was left."""
        telemetry.record_budget(budget.tokens_remaining, budget.cost_remaining_usd)
        if self._left_usd is not None and budget.cost_remaining_usd < self._left_usd:
            telemetry.record_cost(self._left_usd - budget.cost_remaining_usd)
        self._left_usd = budget.cost_remaining_usd

    def _enter(self, phase: LoopPhase, at_ns: int) -> None:
        if self._phase is not None:
            self._phase.end(at_ns)
            self._phase = None
        if phase is not LoopPhase.SLEEP and self._turn is not None:
            attributes = {**self._attributes, telemetry.PHASE: phase.value}
            self._phase = telemetry.start_span(
                telemetry.LOOP_PHASE, attributes, self._turn.context, at_ns=at_ns
            )

    def end(self, *, finished: bool = False) -> None:
        """The turn has `finished`; or it never began, or is another kernel's from now on."""
        if self._phase is not None:
            self._phase.end()
        if self._turn is not None:
            self._turn.end()
            if finished:
                telemetry.record_duration(telemetry.INVOKE_AGENT, time.monotonic() - self._began)
        self._turn = self._phase = None
