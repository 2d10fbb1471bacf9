"""A tick begins."""

from msgspec.structs import replace

from vagus.contract.errors import BranchNotFound, BranchReadOnly, Busy, Malformed, VagusError
from vagus.contract.events import (
    DeliberationProposed,
    ErrorRaised,
    ModeChanged,
    PhaseEntered,
    RunStarted,
    StateEstimated,
    StepStarted,
)
from vagus.contract.extensions import TurnStarted
from vagus.contract.limits import OBJECTIVE_BYTES
from vagus.contract.state import LoopPhase, OperatingMode
from vagus_kernel import homeostasis
from vagus_kernel.decide import turn
from vagus_kernel.decide.draft import Decision, Draft, Outcome, Rejected
from vagus_kernel.inputs import Context, StartTick
from vagus_kernel.state import Branch, Session


def writable(session: Session, branch_id: str) -> Branch | VagusError:
    """The branch, if it can be written to."""
    branch = session.branches.get(branch_id)
    if branch is None:
        return BranchNotFound(f"branch not found: {branch_id}")
    if branch.merged_into is not None:
        return BranchReadOnly(f"branch {branch_id} is merged into {branch.merged_into} and is read-only")
    if session.closed:
        return BranchReadOnly(f"session {session.session_id} is closed and is read-only")
    return branch


def start(session: Session, given: StartTick, context: Context) -> Outcome:
    """Begin a turn; one that needs nobody else also ends here."""
    command, tick = given.command, given.command.tick
    branch = writable(session, command.branch_id)
    if isinstance(branch, VagusError):
        return Rejected(branch)
    if len(tick.objective.encode()) > OBJECTIVE_BYTES:
        limit = OBJECTIVE_BYTES // 1024
        return Rejected(Malformed(f"objective too long: at most {limit} KiB; put long text into a file"))
    if command.command_id in session.commands:
        return Decision(session)
    if branch.turn is not None:
        if branch.turn.command_id == command.command_id:
            return Decision(session)
        return Rejected(Busy(f"branch {branch.branch_id} has a tick in progress"))
    call = tick.proposed_tool
    draft = Draft(
        session, command.branch_id, context, causation=command.command_id, command_id=command.command_id
    )
    draft.emit(
        TurnStarted(
            run_id=draft.mint.uuid(),
            actor=command.actor,
            system_prompt=tick.system_prompt,
            allowed_tools=tick.allowed_tools,
            capabilities=call.requested_capabilities if call else (),
            guards=dict(given.guards),
            priority=tick.priority,
        ).event()
    )
    draft.emit(PhaseEntered(phase=LoopPhase.PERCEIVE))
    draft.emit(PhaseEntered(phase=LoopPhase.DELIBERATE))
    tool = call.tool_name if call else None
    draft.emit(DeliberationProposed(summary=tick.objective, proposed_tool=tool))
    mode = _estimate(draft, given, branch)
    if mode in (OperatingMode.ASK_HUMAN, OperatingMode.SLEEP):
        turn.end(draft)
        return draft.decision()
    field = homeostasis.spent(draft.vector.budget) if context.config.enforce_budget else None
    if field is not None:
        draft.emit(ErrorRaised(message=f"budget exceeded: {field}"))
        turn.end(draft)
        return draft.decision()
    draft.emit(RunStarted(provider="canonical", max_iterations=1))
    draft.emit(StepStarted(index=0))
    if call is not None and not turn.request(draft, call, "inline"):
        turn.proceed(draft)
    return draft.decision()


def _estimate(draft: Draft, given: StartTick, branch: Branch) -> OperatingMode:
    """Record the state and mode that the turn begins with; a new objective wakes a sleeping branch."""
    vector = given.vector if given.vector is not None else draft.vector
    threshold = draft.context.config.circuit_breaker_errors
    mode = given.mode or homeostasis.estimate_mode(vector, branch.pending, threshold)
    current = branch.mode if branch.estimated else homeostasis.estimate_mode(draft.vector, 0, threshold)
    objective = given.command.tick.objective
    woken = (
        mode is OperatingMode.SLEEP
        and given.mode is None
        and bool(objective)
        and objective != branch.memory.objective
    )
    if woken:
        vector = replace(vector, progress=0.0)
        mode = homeostasis.estimate_mode(vector, branch.pending, threshold)
    if woken or mode is not current:
        reason = "new objective" if woken else "state estimated"
        draft.emit(ModeChanged(from_=current, to=mode, reason=reason))
    draft.emit(StateEstimated(state=vector, mode=mode))
    return mode
