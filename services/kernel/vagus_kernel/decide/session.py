"""The session as a whole: created, told facts and policies, given budget, resumed, closed."""

from collections.abc import Mapping
from typing import Final

import msgspec

from vagus.contract.codec import decode_kind
from vagus.contract.commands import Close, ExtendBudget, RecordEvent, SetPolicy
from vagus.contract.errors import Conflict, Malformed, Refused, VagusError
from vagus.contract.events import (
    Custom,
    EventKind,
    PhaseEntered,
    SessionClosed,
    SessionCreated,
    SessionResumed,
    Unknown,
)
from vagus.contract.extensions import BudgetExtended, LogCopied, ManifestSet, PolicyWritten
from vagus.contract.hashing import manifest_hash
from vagus.contract.ids import MAIN
from vagus.contract.outcome import HARD_STOP
from vagus.contract.replies import Closed, PolicyVersion, Recorded
from vagus.contract.state import BudgetState, LoopPhase
from vagus_kernel.decide.approvals import busy
from vagus_kernel.decide.draft import Decision, Draft, Outcome, Rejected
from vagus_kernel.decide.tick import writable
from vagus_kernel.inputs import Context, Create, Mark, Resumed
from vagus_kernel.state import Session

RECORDABLE: Final = frozenset(
    [
        "UserMessage",
        "ExternalSignal",
        "ObservationAppended",
        "ReflectionCompacted",
        "MemoryProposed",
        "MemoryCommitted",
        "MemoryTombstoned",
        "VoiceSessionStarted",
        "VoiceInputChunk",
        "VoiceOutputChunk",
        "VoiceSessionStopped",
        "VoiceAdapterError",
        "WorldModelObserved",
        "WorldModelRollout",
        "IntentProposed",
        "IntentEvaluated",
        "IntentApproved",
        "IntentRejected",
        "HiveTaskCreated",
        "HiveArtifactShared",
        "HiveSelectionMade",
        "HiveGenerationCompleted",
        "HiveTaskCompleted",
        "Queued",
        "Steered",
        "QueueDrained",
        "Custom",
    ]
)
"""Facts from outside. Everything else only the kernel may say (RULINGS W83)."""

_OURS: Final = ("vagus.", "loop_detection.", "ObservationExtracted")


def create(session: Session | None, given: Create, context: Context) -> Outcome:
    """Create the session; by an existing id its manifest is returned, unless the policy differs."""
    command = given.command
    body = command.create_session
    if session is not None:
        if session.manifest is None or session.manifest.policy != body.policy:
            return Rejected(
                Conflict(f"session {session.session_id} exists with another policy: use set_policy")
            )
        return Decision(session, reply=session.manifest)
    manifest = given.manifest
    draft = Draft(
        None,
        MAIN,
        context,
        causation=command.command_id,
        command_id=command.command_id,
        agent_id=given.agent_id,
        session_id=command.session_id,
    )
    digest = manifest_hash(manifest)
    draft.emit(SessionCreated(name=digest, config={"manifest_hash": digest}))
    draft.emit(ManifestSet(manifest=manifest, budget=body.budget).event())
    draft.emit(PolicyWritten(version=1, policy=body.policy).event())
    draft.emit(PhaseEntered(phase=LoopPhase.SLEEP))
    return draft.decision(manifest)


def set_policy(session: Session, command: SetPolicy, context: Context) -> Outcome:
    """Replace the policy; calls gated from here on are judged by it."""
    if command.command_id in session.commands:
        return Decision(session, reply=PolicyVersion(version=session.policy_version))
    draft = _draft(session, MAIN, command.command_id, context)
    if isinstance(draft, Rejected):
        return draft
    version = session.policy_version + 1
    draft.emit(PolicyWritten(version=version, policy=command.set_policy.policy).event())
    return draft.decision(PolicyVersion(version=version))


def extend_budget(session: Session, command: ExtendBudget, context: Context) -> Outcome:
    """Add to a branch's budget."""
    body = command.extend_budget
    branch = body.branch if command.branch_id == MAIN else command.branch_id
    draft = _draft(session, branch, command.command_id, context)
    if isinstance(draft, Rejected):
        return draft
    if command.command_id not in session.commands:
        draft.emit(BudgetExtended(extension=body, actor=command.actor).event())
    budget: BudgetState = draft.vector.budget
    return draft.decision(budget)


def record(session: Session, command: RecordEvent, context: Context) -> Outcome:
    """Record a fact from outside."""
    body = command.record_event
    branch = body.branch if command.branch_id == MAIN else command.branch_id
    kind = recordable(body.event)
    if isinstance(kind, VagusError):
        return Rejected(kind)
    draft = _draft(session, branch, command.command_id, context)
    if isinstance(draft, Rejected):
        return draft
    if command.command_id not in session.commands:
        draft.emit(kind)
    return draft.decision(Recorded(branch_id=branch, sequence=draft.branch.head_sequence))


def recordable(event: object) -> EventKind | VagusError:
    """The event, if it is one that may be told from outside."""
    if not isinstance(event, Mapping):
        return Malformed("an event is a JSON object with a type")
    kind = decode_kind(msgspec.json.encode(event))
    if isinstance(kind, Unknown):
        return Malformed(f"not an event kind with all its fields: {kind.type}")
    if kind.type not in RECORDABLE:
        return Refused(f"{kind.type} is said by the kernel only; record facts from outside, or Custom")
    if isinstance(kind, Custom) and (
        kind.event_type.startswith(_OURS) or kind.event_type.endswith(HARD_STOP)
    ):
        return Refused(f"Custom {kind.event_type} is said by the kernel only; choose another event_type")
    return kind


def close(session: Session, command: Close, context: Context) -> Outcome:
    """Close the session."""
    if command.command_id in session.commands or session.closed:
        return Decision(session, reply=Closed(session_id=session.session_id))
    for branch in session.branches.values():
        why = busy(branch)
        if why is not None:
            return Rejected(Refused(f"{why}: wait for it, or close with cancel"))
    draft = Draft(session, MAIN, context, causation=command.command_id, command_id=command.command_id)
    draft.emit(SessionClosed(reason=command.close.reason))
    return draft.decision(Closed(session_id=session.session_id))


def mark(session: Session, given: Mark, context: Context) -> Outcome:
    """Mark the log as being archived; nothing is ever written to that of a closed session anyway."""
    if session.closed:
        return Decision(session)
    for branch in session.branches.values():
        why = busy(branch)
        if why is not None:
            return Rejected(Refused(f"{why}: archive the session when it is at rest"))
    draft = Draft(session, MAIN, context, causation=given.command_id)
    draft.emit(LogCopied(copy=given.copy).event())
    return draft.decision()


def resume(session: Session, given: Resumed, context: Context) -> Outcome:
    """A new owner takes over in the middle of something; the event fences every other owner."""
    draft = Draft(session, MAIN, context)
    draft.emit(SessionResumed(from_snapshot=given.snapshot))
    return draft.decision()


def _draft(session: Session, branch_id: str, command_id: str, context: Context) -> Draft | Rejected:
    branch = writable(session, branch_id)
    if isinstance(branch, VagusError):
        return Rejected(branch)
    return Draft(session, branch_id, context, causation=command_id, command_id=command_id)
