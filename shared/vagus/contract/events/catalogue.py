"""The catalogue of event kinds, and which of them are ours alone (fact sheet 1.4)."""

from typing import TYPE_CHECKING, Final, TypeAlias, get_args

from vagus.contract.events.base import Kind, Unknown
from vagus.contract.events.custom import Custom, ErrorRaised
from vagus.contract.events.hive import (
    HiveArtifactShared,
    HiveGenerationCompleted,
    HiveSelectionMade,
    HiveTaskCompleted,
    HiveTaskCreated,
)
from vagus.contract.events.homeostasis import (
    BudgetUpdated,
    CheckpointCreated,
    CheckpointRestored,
    CircuitBreakerTripped,
    ContextCompacted,
    GatesUpdated,
    Heartbeat,
    ModeChanged,
    SnapshotCreated,
    StateEstimated,
    StatePatchCommitted,
    StatePatched,
)
from vagus.contract.events.memory import (
    MemoryCommitted,
    MemoryProposed,
    MemoryTombstoned,
    ObservationAppended,
    ReflectionCompacted,
)
from vagus.contract.events.queue import Queued, QueueDrained, Steered
from vagus.contract.events.sandbox import SandboxCreated, SandboxDestroyed, SandboxExecuted, SandboxViolation
from vagus.contract.events.session import (
    BranchCreated,
    BranchMerged,
    ExternalSignal,
    SessionClosed,
    SessionCreated,
    SessionResumed,
    UserMessage,
)
from vagus.contract.events.tool import (
    ApprovalRequested,
    ApprovalResolved,
    FileDelete,
    FileMutated,
    FileRename,
    FileWrite,
    PolicyEvaluated,
    ToolCallCompleted,
    ToolCallFailed,
    ToolCallRequested,
    ToolCallStarted,
)
from vagus.contract.events.turn import (
    AssistantMessageCommitted,
    AssistantTextDelta,
    DeliberationProposed,
    Message,
    PhaseEntered,
    RunErrored,
    RunFinished,
    RunStarted,
    StepFinished,
    StepStarted,
    TextDelta,
)
from vagus.contract.events.voice import (
    VoiceAdapterError,
    VoiceInputChunk,
    VoiceOutputChunk,
    VoiceSessionStarted,
    VoiceSessionStopped,
)
from vagus.contract.events.world import (
    IntentApproved,
    IntentEvaluated,
    IntentProposed,
    IntentRejected,
    WorldModelObserved,
    WorldModelRollout,
)

KnownKind: TypeAlias = (
    UserMessage
    | ExternalSignal
    | SessionCreated
    | SessionResumed
    | SessionClosed
    | BranchCreated
    | BranchMerged
    | PhaseEntered
    | DeliberationProposed
    | RunStarted
    | RunFinished
    | RunErrored
    | StepStarted
    | StepFinished
    | AssistantTextDelta
    | AssistantMessageCommitted
    | TextDelta
    | Message
    | ToolCallRequested
    | ToolCallStarted
    | ToolCallCompleted
    | ToolCallFailed
    | PolicyEvaluated
    | ApprovalRequested
    | ApprovalResolved
    | FileWrite
    | FileDelete
    | FileRename
    | FileMutated
    | SandboxCreated
    | SandboxExecuted
    | SandboxViolation
    | SandboxDestroyed
    | StatePatchCommitted
    | StatePatched
    | ContextCompacted
    | Heartbeat
    | StateEstimated
    | BudgetUpdated
    | ModeChanged
    | GatesUpdated
    | CircuitBreakerTripped
    | CheckpointCreated
    | CheckpointRestored
    | SnapshotCreated
    | ObservationAppended
    | ReflectionCompacted
    | MemoryProposed
    | MemoryCommitted
    | MemoryTombstoned
    | VoiceSessionStarted
    | VoiceInputChunk
    | VoiceOutputChunk
    | VoiceSessionStopped
    | VoiceAdapterError
    | WorldModelObserved
    | WorldModelRollout
    | IntentProposed
    | IntentEvaluated
    | IntentApproved
    | IntentRejected
    | HiveTaskCreated
    | HiveArtifactShared
    | HiveSelectionMade
    | HiveGenerationCompleted
    | HiveTaskCompleted
    | Queued
    | Steered
    | QueueDrained
    | ErrorRaised
    | Custom
)
"""Every kind of the original's version 0.3.0."""

if TYPE_CHECKING:
    EventKind: TypeAlias = KnownKind | Unknown
else:
    # msgspec cannot read a union that holds a class of ours; the codec makes `Unknown` where this fails.
    EventKind = KnownKind

BY_TYPE: Final[dict[str, type[Kind]]] = {kind.__name__: kind for kind in get_args(KnownKind)}
"""Every known kind by its name on the wire."""

OWN_PREFIX: Final = "vagus."
"""What the event_type of our own custom events begins with."""

_EXTENSIONS: Final = frozenset(
    (PolicyEvaluated, SessionResumed, SessionClosed, CheckpointRestored, ContextCompacted)
)


def is_extension(kind: EventKind) -> bool:
    """Whether the original runtime never emits `kind`: who drops these sees the original's sequence."""
    if isinstance(kind, Custom):
        return kind.event_type.startswith(OWN_PREFIX)
    return type(kind) in _EXTENSIONS
