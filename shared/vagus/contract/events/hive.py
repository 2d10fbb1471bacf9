"""Hives: several sessions on one objective, by generations."""

from vagus.contract.events.base import U32, Kind, hold_single
from vagus.contract.json import Json


class HiveTaskCreated(Kind, frozen=True, kw_only=True):
    """A hive has an objective."""

    hive_task_id: str
    objective: str
    agent_count: U32


class HiveArtifactShared(Kind, frozen=True, kw_only=True):
    """A session shared what it made."""

    hive_task_id: str
    source_session_id: str
    score: float
    mutation_summary: str

    def __post_init__(self) -> None:
        hold_single(self, "score")


class HiveSelectionMade(Kind, frozen=True, kw_only=True):
    """A generation has a winner."""

    hive_task_id: str
    winning_session_id: str
    winning_score: float
    generation: U32

    def __post_init__(self) -> None:
        hold_single(self, "winning_score")


class HiveGenerationCompleted(Kind, frozen=True, kw_only=True):
    """A generation is over."""

    hive_task_id: str
    generation: U32
    best_score: float
    agent_results: Json

    def __post_init__(self) -> None:
        hold_single(self, "best_score")


class HiveTaskCompleted(Kind, frozen=True, kw_only=True):
    """A hive is done."""

    hive_task_id: str
    total_generations: U32
    total_trials: U32
    final_score: float

    def __post_init__(self) -> None:
        hold_single(self, "final_score")
