"""The agent's state vector, budget and operating modes (fact sheet 1.2 and 1.5)."""

from enum import StrEnum
from typing import Final

import msgspec

from vagus.contract.numbers import shortest


class OperatingMode(StrEnum):
    """What a branch is doing, from its state vector."""

    EXPLORE = "explore"
    EXECUTE = "execute"
    VERIFY = "verify"
    RECOVER = "recover"
    ASK_HUMAN = "ask_human"
    SLEEP = "sleep"


class RiskLevel(StrEnum):
    """How risky the next step is taken to be."""

    LOW = "low"
    MEDIUM = "medium"
    HIGH = "high"
    CRITICAL = "critical"


class LoopPhase(StrEnum):
    """The phases of a turn."""

    PERCEIVE = "perceive"
    DELIBERATE = "deliberate"
    GATE = "gate"
    EXECUTE = "execute"
    COMMIT = "commit"
    REFLECT = "reflect"
    SLEEP = "sleep"


class BudgetState(msgspec.Struct, frozen=True, kw_only=True):
    """What a branch may still spend; every field saturates at 0."""

    tokens_remaining: int = 120_000
    time_remaining_ms: int = 300_000
    cost_remaining_usd: float = 5.0
    tool_calls_remaining: int = 48
    error_budget_remaining: int = 8


class AgentStateVector(msgspec.Struct, frozen=True, kw_only=True):
    """The controllers' state. Field order is the order in which it is hashed; floats are single precision."""

    progress: float = 0.0
    uncertainty: float = 0.7
    risk_level: RiskLevel = RiskLevel.LOW
    budget: BudgetState = BudgetState()
    error_streak: int = 0
    context_pressure: float = 0.1
    side_effect_pressure: float = 0.0
    human_dependency: float = 0.0

    def __post_init__(self) -> None:
        for name in _SINGLES:
            value = getattr(self, name)
            held = shortest(value)
            if held != value or value.__class__ is not float:
                msgspec.structs.force_setattr(self, name, held)


_SINGLES: Final = ("progress", "uncertainty", "context_pressure", "side_effect_pressure", "human_dependency")
