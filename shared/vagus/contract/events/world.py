"""World models and intents."""

import msgspec

from vagus.contract.events.base import Kind, hold_single
from vagus.contract.json import Json
from vagus.contract.state import RiskLevel


def _no_reasons() -> tuple[str, ...]:
    return ()  # made by a factory, the empty list is written


class WorldModelObserved(Kind, frozen=True, kw_only=True):
    """A world model saw a state."""

    state_ref: str
    meta: Json


class WorldModelRollout(Kind, frozen=True, kw_only=True):
    """A world model played a trajectory through."""

    trajectory_ref: str
    score: float | None = None

    def __post_init__(self) -> None:
        hold_single(self, "score")


class IntentProposed(Kind, frozen=True, kw_only=True):
    """Something is intended."""

    intent_id: str
    kind: str
    risk: RiskLevel | None = None


class IntentEvaluated(Kind, frozen=True, kw_only=True):
    """An intent was judged."""

    intent_id: str
    allowed: bool
    requires_approval: bool
    reasons: tuple[str, ...] = msgspec.field(default_factory=_no_reasons)


class IntentApproved(Kind, frozen=True, kw_only=True):
    """An intent was approved."""

    intent_id: str
    actor: str | None = None


class IntentRejected(Kind, frozen=True, kw_only=True):
    """An intent was rejected."""

    intent_id: str
    reasons: tuple[str, ...] = msgspec.field(default_factory=_no_reasons)
