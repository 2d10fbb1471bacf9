"""The controllers: how a branch's state vector and mode follow from what happens (fact sheet 2.2 and 2.5).

One pure, replaceable module with the original's numbers, in single precision.
"""

from msgspec.structs import replace

from vagus.contract.numbers import add, multiply
from vagus.contract.state import AgentStateVector, BudgetState, OperatingMode, RiskLevel

TOKENS_PER_CALL = 750
MILLISECONDS_PER_CALL = 1200


def estimate_mode(vector: AgentStateVector, pending_approvals: int, threshold: int) -> OperatingMode:
    """The mode that a state calls for; `threshold` is the circuit breaker's error streak."""
    if pending_approvals > 0:
        return OperatingMode.ASK_HUMAN
    if vector.error_streak >= threshold:
        return OperatingMode.RECOVER
    if vector.progress >= 0.98:
        return OperatingMode.SLEEP
    if vector.context_pressure > 0.8 or vector.uncertainty > 0.65:
        return OperatingMode.EXPLORE
    return OperatingMode.VERIFY if vector.side_effect_pressure > 0.6 else OperatingMode.EXECUTE


def after_tool(vector: AgentStateVector, *, success: bool) -> AgentStateVector:
    """After a tool has run, whatever its exit."""
    budget = replace(
        vector.budget,
        tool_calls_remaining=max(0, vector.budget.tool_calls_remaining - 1),
        tokens_remaining=max(0, vector.budget.tokens_remaining - TOKENS_PER_CALL),
        time_remaining_ms=max(0, vector.budget.time_remaining_ms - MILLISECONDS_PER_CALL),
    )
    if success:
        progress = min(add(vector.progress, 0.12), 1.0)
        uncertainty = max(multiply(vector.uncertainty, 0.85), 0.05)
        streak = 0
        side_effects = min(add(vector.side_effect_pressure, 0.2), 1.0)
    else:
        progress = vector.progress
        uncertainty = min(add(vector.uncertainty, 0.18), 1.0)
        streak = vector.error_streak + 1
        side_effects = max(multiply(vector.side_effect_pressure, 0.5), 0.1)
        budget = replace(budget, error_budget_remaining=max(0, budget.error_budget_remaining - 1))
    return AgentStateVector(
        progress=progress,
        uncertainty=uncertainty,
        risk_level=_risk(uncertainty, side_effects),
        budget=budget,
        error_streak=streak,
        context_pressure=min(add(vector.context_pressure, 0.03), 1.0),
        side_effect_pressure=side_effects,
        human_dependency=0.6 if streak >= 2 else 0.0,
    )


def after_error(vector: AgentStateVector) -> AgentStateVector:
    """After a denial, a harness error or a provider error."""
    return replace(
        vector,
        error_streak=vector.error_streak + 1,
        uncertainty=min(add(vector.uncertainty, 0.15), 1.0),
        budget=replace(
            vector.budget, error_budget_remaining=max(0, vector.budget.error_budget_remaining - 1)
        ),
    )


def spent(budget: BudgetState) -> str | None:
    """The first budget that forbids a turn, by its field's name."""
    for field in ("tokens_remaining", "time_remaining_ms", "cost_remaining_usd", "error_budget_remaining"):
        if getattr(budget, field) <= 0:
            return field
    return None


def _risk(uncertainty: float, side_effects: float) -> RiskLevel:
    if uncertainty > 0.75 or side_effects > 0.7:
        return RiskLevel.HIGH
    return RiskLevel.MEDIUM if uncertainty > 0.45 or side_effects > 0.4 else RiskLevel.LOW
