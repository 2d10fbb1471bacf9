"""The agent's state: estimates, budget, modes, patches, checkpoints and snapshots."""

import msgspec

from vagus.contract.events.base import U32, U64, Kind
from vagus.contract.events.patch import StatePatch
from vagus.contract.events.vocabulary import SnapshotType
from vagus.contract.json import Json
from vagus.contract.state import AgentStateVector, BudgetState, OperatingMode


class StatePatchCommitted(Kind, frozen=True, kw_only=True):
    """The canonical state has a new version."""

    new_version: U64
    patch: StatePatch


class StatePatched(Kind, frozen=True, kw_only=True):
    """A state was patched."""

    index: U32 | None = None
    patch: Json
    revision: U64


class ContextCompacted(Kind, frozen=True, kw_only=True):
    """Old turns were dropped from the conversation or summarised."""

    dropped_count: U64
    tokens_before: U64
    tokens_after: U64


class Heartbeat(Kind, frozen=True, kw_only=True):
    """A turn is accounted for."""

    summary: str
    checkpoint_id: str | None = None


class StateEstimated(Kind, frozen=True, kw_only=True):
    """The state vector and the mode that follows from it."""

    state: AgentStateVector
    mode: OperatingMode


class BudgetUpdated(Kind, frozen=True, kw_only=True):
    """What is left of the budget."""

    budget: BudgetState
    reason: str


class ModeChanged(Kind, frozen=True, kw_only=True):
    """The branch does something else from here on."""

    from_: OperatingMode = msgspec.field(name="from")
    to: OperatingMode
    reason: str


class GatesUpdated(Kind, frozen=True, kw_only=True):
    """The gating profile changed."""

    gates: Json
    reason: str


class CircuitBreakerTripped(Kind, frozen=True, kw_only=True):
    """Too many errors in a row."""

    reason: str
    error_streak: U32


class CheckpointCreated(Kind, frozen=True, kw_only=True):
    """The state at `event_sequence` can be restored."""

    checkpoint_id: str
    event_sequence: U64
    state_hash: str
    """SHA-256 hex of the state vector."""


class CheckpointRestored(Kind, frozen=True, kw_only=True):
    """The state is again that of a checkpoint."""

    checkpoint_id: str
    restored_to_seq: U64


class SnapshotCreated(Kind, frozen=True, kw_only=True):
    """A snapshot of what the log says exists."""

    snapshot_id: str
    snapshot_type: SnapshotType
    covers_through_seq: U64
    data_hash: str
