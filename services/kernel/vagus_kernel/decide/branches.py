"""Branches are forked, merged and set back to a checkpoint."""

from vagus.contract.commands import Merge, MergeBranch
from vagus.contract.errors import BranchExists, BranchNotFound, BranchReadOnly, Refused, VagusError
from vagus.contract.events import BranchCreated, BranchMerged, CheckpointRestored
from vagus.contract.extensions import StateSet
from vagus.contract.ids import MAIN
from vagus.contract.limits import BRANCHES
from vagus.contract.sessions import BranchMergeResult
from vagus_kernel import homeostasis
from vagus_kernel.decide.approvals import busy
from vagus_kernel.decide.draft import Decision, Draft, Outcome, Rejected
from vagus_kernel.decide.tick import writable
from vagus_kernel.inputs import Context, Fork, RestoreTo
from vagus_kernel.state import Session


def fork_point(session: Session, given: Fork) -> int | VagusError:
    """The parent's sequence that the new branch would fork at, or why it cannot."""
    body = given.command.create_branch
    if body.branch in session.branches:
        return BranchExists(f"branch already exists: {body.branch}")
    parent = session.branches.get(body.from_branch)
    if parent is None:
        return BranchNotFound(f"source branch not found: {body.from_branch}")
    if parent.merged_into is not None:
        return BranchReadOnly(
            f"source branch {body.from_branch} is merged into {parent.merged_into} and is read-only"
        )
    if session.closed:
        return BranchReadOnly(f"session {session.session_id} is closed and is read-only")
    if len(session.branches) >= BRANCHES:
        return Refused(f"the session has {len(session.branches)} branches, and no room for more")
    fork = parent.head_sequence if body.fork_sequence is None else body.fork_sequence
    if fork < 0 or fork > parent.head_sequence:
        return Refused(f"fork sequence {fork} exceeds source branch head {parent.head_sequence}")
    return fork


def fork(session: Session, given: Fork, context: Context) -> Outcome:
    """Create a branch."""
    command, body = given.command, given.command.create_branch
    if command.command_id in session.commands and body.branch in session.branches:
        return Decision(session, reply=session.branches[body.branch].info())
    point = fork_point(session, given)
    if isinstance(point, VagusError):
        return Rejected(point)
    draft = Draft(session, body.branch, context, causation=command.command_id, command_id=command.command_id)
    draft.emit(
        BranchCreated(
            new_branch_id=body.branch,
            fork_point_seq=point,
            name=body.branch,
            from_branch=body.from_branch,
        )
    )
    if given.memory is not None:
        draft.emit(StateSet(memory=given.memory).event())
    return draft.decision(draft.branch.info())


def merge(session: Session, command: MergeBranch, context: Context) -> Outcome:
    """Merge a branch into another; afterwards the source is read-only."""
    body = command.merge_branch
    source_id, target_id = body.branch, body.into
    source, target = session.branches.get(source_id), session.branches.get(target_id)
    if command.command_id in session.commands and source is not None and target is not None:
        return Decision(
            session, reply=_merged(source_id, target_id, source.head_sequence, target.head_sequence)
        )
    refused = unmergeable(session, body)
    if refused is not None:
        return Rejected(refused)
    source = session.branches[source_id]
    why = busy(source)
    if why is not None:
        return Rejected(Refused(f"{why}: wait for it, or merge with cancel"))
    head = source.head_sequence
    draft = Draft(session, target_id, context, causation=command.command_id, command_id=command.command_id)
    draft.emit(BranchMerged(source_branch_id=source_id, merge_seq=head))
    return draft.decision(_merged(source_id, target_id, head, draft.branch.head_sequence))


def unmergeable(session: Session, body: Merge) -> VagusError | None:
    """Why a merge is refused whatever happens on its branches; None if it may be done once they are idle."""
    source, target = session.branches.get(body.branch), session.branches.get(body.into)
    if body.branch == body.into:
        return Refused("source and target branch must differ")
    if body.branch == MAIN:
        return Refused("main branch cannot be used as a merge source")
    if source is None:
        return BranchNotFound(f"source branch not found: {body.branch}")
    if source.merged_into is not None:
        return BranchReadOnly(f"source branch {body.branch} already merged into {source.merged_into}")
    if target is None:
        return BranchNotFound(f"target branch not found: {body.into}")
    if target.merged_into is not None:
        return BranchReadOnly(
            f"target branch {body.into} is merged into {target.merged_into} and is read-only"
        )
    if session.closed:
        return BranchReadOnly(f"session {session.session_id} is closed and is read-only")
    return None


def _merged(source: str, target: str, source_head: int, target_head: int) -> BranchMergeResult:
    return BranchMergeResult(
        source_branch=source,
        target_branch=target,
        source_head_sequence=source_head,
        target_head_sequence=target_head,
    )


def restore(session: Session, given: RestoreTo, context: Context) -> Outcome:
    """Set a branch's mind back to a checkpoint's; the log goes on."""
    command = given.command
    branch = writable(session, command.branch_id)
    if isinstance(branch, VagusError):
        return Rejected(branch)
    if command.command_id in session.commands:
        return Decision(session, reply=branch.info())
    why = busy(branch)
    if why is not None:
        return Rejected(Refused(f"{why}: wait for it, or cancel it"))
    draft = Draft(
        session, command.branch_id, context, causation=command.command_id, command_id=command.command_id
    )
    threshold = context.config.circuit_breaker_errors
    mode = homeostasis.estimate_mode(given.memory.vector, 0, threshold)
    draft.emit(StateSet(memory=given.memory).event())
    draft.change_mode(mode, f"checkpoint {command.restore_checkpoint.checkpoint_id} restored")
    draft.emit(
        CheckpointRestored(
            checkpoint_id=command.restore_checkpoint.checkpoint_id, restored_to_seq=given.sequence
        )
    )
    return draft.decision(draft.branch.info())
