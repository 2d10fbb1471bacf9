"""The state vector, and how events move it: single precision, rounded after every operation.

A value is held as the double that prints with the fewest digits which read back as the same single: so a
vector compares with, and is hashed as, what stands on the log.
"""

import hashlib
import struct
from collections.abc import Iterator
from functools import lru_cache
from typing import Final

import msgspec
from msgspec.structs import replace

_SINGLE: Final = struct.Struct("f")
_JSON: Final = msgspec.json.Encoder()

DENIED: Final = 0.15
"""What a denial, a harness error or a provider error adds to uncertainty."""


class Budget(msgspec.Struct, frozen=True):
    """What may still be spent."""

    tokens_remaining: int = 120_000
    time_remaining_ms: int = 300_000
    cost_remaining_usd: float = 5.0
    tool_calls_remaining: int = 48
    error_budget_remaining: int = 8


class Extension(msgspec.Struct, frozen=True):
    """What somebody adds to a budget."""

    tokens: int = 0
    time_ms: int = 0
    cost_usd: float = 0.0
    tool_calls: int = 0
    errors: int = 0


class Vector(msgspec.Struct, frozen=True):
    """The state of a branch. Its fields are hashed in this order."""

    progress: float = 0.0
    uncertainty: float = 0.7
    risk_level: str = "low"
    budget: Budget = Budget()
    error_streak: int = 0
    context_pressure: float = 0.1
    side_effect_pressure: float = 0.0
    human_dependency: float = 0.0


def state_hash(vector: Vector) -> str:
    """SHA-256 of the compact JSON."""
    return hashlib.sha256(_JSON.encode(vector)).hexdigest()


def after_tool(vector: Vector, *, success: bool) -> Vector:
    """A tool has run, well or not."""
    budget = replace(
        vector.budget,
        tokens_remaining=max(vector.budget.tokens_remaining - 750, 0),
        time_remaining_ms=max(vector.budget.time_remaining_ms - 1200, 0),
        tool_calls_remaining=max(vector.budget.tool_calls_remaining - 1, 0),
    )
    if success:
        moved = replace(
            vector,
            progress=min(_sum(vector.progress, 0.12), 1.0),
            uncertainty=max(_product(vector.uncertainty, 0.85), 0.05),
            budget=budget,
            error_streak=0,
            side_effect_pressure=min(_sum(vector.side_effect_pressure, 0.2), 1.0),
        )
    else:
        moved = replace(
            vector,
            uncertainty=min(_sum(vector.uncertainty, 0.18), 1.0),
            budget=_less_error(budget),
            error_streak=vector.error_streak + 1,
            side_effect_pressure=max(_product(vector.side_effect_pressure, 0.5), 0.1),
        )
    return replace(
        moved,
        context_pressure=min(_sum(moved.context_pressure, 0.03), 1.0),
        human_dependency=0.6 if moved.error_streak >= 2 else 0.0,
        risk_level=_risk(moved.uncertainty, moved.side_effect_pressure),
    )


def after_error(vector: Vector) -> Vector:
    """A call was denied or could not be run, or a run broke off."""
    return replace(
        vector,
        uncertainty=min(_sum(vector.uncertainty, DENIED), 1.0),
        budget=_less_error(vector.budget),
        error_streak=vector.error_streak + 1,
    )


def extended(vector: Vector, more: Extension) -> Vector:
    """Somebody added to the budget."""
    budget = vector.budget
    return replace(
        vector,
        budget=Budget(
            tokens_remaining=budget.tokens_remaining + more.tokens,
            time_remaining_ms=budget.time_remaining_ms + more.time_ms,
            cost_remaining_usd=budget.cost_remaining_usd + more.cost_usd,
            tool_calls_remaining=budget.tool_calls_remaining + more.tool_calls,
            error_budget_remaining=budget.error_budget_remaining + more.errors,
        ),
    )


def differences(told: Vector, due: Vector) -> Iterator[str]:
    """The fields in which two vectors differ, each as `name 1, not 2`."""
    for name in Vector.__struct_fields__:
        here, there = getattr(told, name), getattr(due, name)
        if isinstance(here, Budget):
            for field in Budget.__struct_fields__:
                if getattr(here, field) != getattr(there, field):
                    yield f"{field} {getattr(here, field)}, not {getattr(there, field)}"
        elif here != there:
            yield f"{name} {here}, not {there}"


def _less_error(budget: Budget) -> Budget:
    return replace(budget, error_budget_remaining=max(budget.error_budget_remaining - 1, 0))


def _risk(uncertainty: float, side_effects: float) -> str:
    if uncertainty > 0.75 or side_effects > 0.7:
        return "high"
    return "medium" if uncertainty > 0.45 or side_effects > 0.4 else "low"


def _sum(left: float, right: float) -> float:
    return _printed(_narrow(left) + _narrow(right))


def _product(left: float, right: float) -> float:
    return _printed(_narrow(left) * _narrow(right))


def _narrow(value: float) -> float:
    single: float = _SINGLE.unpack(_SINGLE.pack(value))[0]
    return single


@lru_cache(maxsize=4096)  # logs repeat their values
def _printed(value: float) -> float:
    """The nearest single, as the shortest decimal that reads back as it: nine digits always do."""
    single = _narrow(value)
    texts = (f"{single:.{digits}g}" for digits in range(1, 10))
    return next((float(text) for text in texts if _narrow(float(text)) == single), single)
