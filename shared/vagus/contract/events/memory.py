"""Memory: observations, reflections and what was decided to be remembered."""

from vagus.contract.events.base import U64, Kind
from vagus.contract.events.vocabulary import MemoryScope


class ObservationAppended(Kind, frozen=True, kw_only=True):
    """Something was noted."""

    scope: MemoryScope
    observation_ref: str
    source_run_id: str | None = None


class ReflectionCompacted(Kind, frozen=True, kw_only=True):
    """Notes were summarised."""

    scope: MemoryScope
    summary_ref: str
    covers_through_seq: U64


class MemoryProposed(Kind, frozen=True, kw_only=True):
    """Something is proposed to be remembered."""

    scope: MemoryScope
    proposal_id: str
    entries_ref: str
    source_run_id: str | None = None


class MemoryCommitted(Kind, frozen=True, kw_only=True):
    """Something is remembered."""

    scope: MemoryScope
    memory_id: str
    committed_ref: str
    supersedes: str | None = None


class MemoryTombstoned(Kind, frozen=True, kw_only=True):
    """Something is no longer remembered."""

    scope: MemoryScope
    memory_id: str
    reason: str
