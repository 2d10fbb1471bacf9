"""The original's controllers and modes (fact sheet 2.2 and 2.5), written down a second time."""

from dataclasses import dataclass, field, replace
from typing import Any

import msgspec
from msgspec.structs import replace as with_fields

from vagus.contract.numbers import add, multiply
from vagus.contract.state import AgentStateVector, RiskLevel


@dataclass(slots=True)
class Mind:
    """What the original holds of a session, and we of a branch."""

    vector: AgentStateVector = field(default_factory=AgentStateVector)
    mode: str = "explore"
    """The one recorded last."""
    objective: str | None = None
    """The latest that was not empty."""
    loop: list[list[str]] = field(default_factory=list)
    """For each loop detector the signatures it has seen."""

    def copy(self) -> "Mind":
        return replace(self, loop=[list(seen) for seen in self.loop])


def as_json(vector: AgentStateVector) -> dict[str, Any]:
    found: dict[str, Any] = msgspec.to_builtins(vector)
    return found


def patched(vector: AgentStateVector, patch: dict[str, Any]) -> AgentStateVector:
    merged = {**as_json(vector), **patch}
    merged["budget"] = {**as_json(vector)["budget"], **patch.get("budget", {})}
    return msgspec.convert(merged, AgentStateVector)


def estimate(vector: AgentStateVector, pending: int, threshold: int) -> str:
    if pending:
        return "ask_human"
    if vector.error_streak >= threshold:
        return "recover"
    if vector.progress >= 0.98:
        return "sleep"
    if vector.context_pressure > 0.8 or vector.uncertainty > 0.65:
        return "explore"
    return "verify" if vector.side_effect_pressure > 0.6 else "execute"


def after_run(before: AgentStateVector, *, ok: bool) -> AgentStateVector:
    """A tool ran."""
    budget = with_fields(
        before.budget,
        tool_calls_remaining=max(before.budget.tool_calls_remaining - 1, 0),
        tokens_remaining=max(before.budget.tokens_remaining - 750, 0),
        time_remaining_ms=max(before.budget.time_remaining_ms - 1200, 0),
        error_budget_remaining=max(before.budget.error_budget_remaining - (not ok), 0),
    )
    uncertainty = (
        max(multiply(before.uncertainty, 0.85), 0.05) if ok else min(add(before.uncertainty, 0.18), 1.0)
    )
    pressure = (
        min(add(before.side_effect_pressure, 0.2), 1.0)
        if ok
        else max(multiply(before.side_effect_pressure, 0.5), 0.1)
    )
    streak = 0 if ok else before.error_streak + 1
    risk = RiskLevel.LOW
    if uncertainty > 0.75 or pressure > 0.7:
        risk = RiskLevel.HIGH
    elif uncertainty > 0.45 or pressure > 0.4:
        risk = RiskLevel.MEDIUM
    return AgentStateVector(
        progress=min(add(before.progress, 0.12), 1.0) if ok else before.progress,
        uncertainty=uncertainty,
        risk_level=risk,
        budget=budget,
        error_streak=streak,
        context_pressure=min(add(before.context_pressure, 0.03), 1.0),
        side_effect_pressure=pressure,
        human_dependency=0.6 if streak >= 2 else 0.0,
    )


def after_error(before: AgentStateVector) -> AgentStateVector:
    """A call was denied, or a harness or a provider failed."""
    return with_fields(
        before,
        error_streak=before.error_streak + 1,
        uncertainty=min(add(before.uncertainty, 0.15), 1.0),
        budget=with_fields(
            before.budget, error_budget_remaining=max(before.budget.error_budget_remaining - 1, 0)
        ),
    )
