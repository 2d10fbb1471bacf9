"""`evolve(session, record) -> session`: what one event on the log means. Total, and never fails.

Everything a kernel knows comes through here, live and at replay alike.
"""

from collections.abc import Callable
from functools import reduce
from typing import Any

from msgspec.structs import replace

from vagus.contract import extensions
from vagus.contract.approvals import ApprovalDecision
from vagus.contract.events import (
    ApprovalRequested,
    ApprovalResolved,
    BranchCreated,
    BranchMerged,
    Custom,
    DeliberationProposed,
    EventRecord,
    Message,
    ModeChanged,
    PhaseEntered,
    PolicyEvaluated,
    RunErrored,
    RunFinished,
    RunStarted,
    SessionClosed,
    SessionCreated,
    StateEstimated,
    StepStarted,
    TextDelta,
    ToolCallCompleted,
    ToolCallFailed,
    ToolCallRequested,
    ToolCallStarted,
)
from vagus.contract.extensions import Memory
from vagus.contract.hashing import call_signature
from vagus.contract.ids import MAIN
from vagus.contract.limits import HISTORY_TURNS, REMEMBERED_IDS
from vagus.contract.messages import Rule
from vagus.contract.models import ConversationTurn
from vagus.contract.policy import PolicyDecisionKind, SpanStatus
from vagus.contract.state import LoopPhase, OperatingMode
from vagus.contract.tools import ToolCall
from vagus_kernel import facts, homeostasis, loops
from vagus_kernel.facts import next_call, with_turn
from vagus_kernel.state import (
    Asking,
    Branch,
    Gating,
    Granted,
    Running,
    Session,
    Settling,
    Stage,
    Thinking,
    Ticket,
    Turn,
    WaitingCall,
    remembered,
)

FOLD_VERSION = 5
"""Of what a snapshot holds: raised by every change that would fold the same log to another state."""

LOOP_MEMORY = 100
"""Signatures kept, whatever the window: a larger window is refused by the settings."""


def evolve(session: Session | None, record: EventRecord) -> Session:
    """The session after this event; `None` is the session before its first."""
    if session is None:
        session = Session(session_id=record.session_id, agent_id=record.agent_id, branches={MAIN: Branch()})
    kind = record.kind
    shape = type(kind)
    if shape in _SESSION:
        session = _SESSION[shape](session, kind, record)
    branch = _branch(session, record)
    turn = branch.turn
    if shape in _BRANCH:
        branch = _BRANCH[shape](branch, kind, record)
    branch = replace(branch, head_sequence=record.sequence)
    branches = {**session.branches, branch.branch_id: branch}
    ended = turn is not None and branch.turn is None
    handled = branch.turn is None or branch.turn.command_id != record.correlation_id
    return replace(
        session,
        branches=branches,
        tick_count=session.tick_count + ended,
        commands=_remember(session.commands, record.correlation_id) if handled else session.commands,
    )


def _branch(session: Session, record: EventRecord) -> Branch:
    return session.branches.get(record.branch_id) or Branch(branch_id=record.branch_id)


# One function a kind of event: (session, kind, record) -> session ----------------------------------------


def _created(session: Session, kind: SessionCreated, record: EventRecord) -> Session:
    return replace(session, agent_id=record.agent_id)


def _closed(session: Session, kind: SessionClosed, record: EventRecord) -> Session:
    return replace(session, closed=True)


def _fact(session: Session, kind: Custom, record: EventRecord) -> Session:
    match extensions.read(kind):
        case extensions.ManifestSet(manifest=manifest):
            return replace(session, manifest=manifest)
        case extensions.PolicyWritten(version=version, policy=policy):
            return replace(session, policy=policy, policy_version=version)
        case extensions.CancelRequested(command_id=str(command_id)):
            return replace(session, commands=_remember(session.commands, command_id))
        case extensions.TicksDropped(dropped=dropped, command_id=command_id):
            return replace(session, commands=reduce(_remember, (*dropped, command_id), session.commands))
    return session


def _forked(session: Session, kind: BranchCreated, record: EventRecord) -> Session:
    parent = session.branches.get(kind.from_branch or MAIN)
    branch = replace(
        _branch(session, record),
        parent_branch=kind.from_branch or MAIN,
        fork_sequence=kind.fork_point_seq,
        estimated=False,
        memory=inherited(parent) if parent is not None else Memory(),
    )
    return replace(session, branches={**session.branches, branch.branch_id: branch})


def _merged(session: Session, kind: BranchMerged, record: EventRecord) -> Session:
    source = session.branches.get(kind.source_branch_id)
    if source is None:
        return session
    # read-only from now on: nothing that it remembers is of use any more
    source = replace(source, merged_into=record.branch_id, memory=Memory(), calls=())
    return replace(session, branches={**session.branches, source.branch_id: source})


def _remember(ids: tuple[str, ...], new: str | None) -> tuple[str, ...]:
    key = remembered(new) if new is not None else None
    if key is None or key in ids[-1:] or key in ids:  # mostly it is the last one, or none
        return ids
    return (*ids[-REMEMBERED_IDS + 1 :], key)


def inherited(branch: Branch) -> Memory:
    """What a fork at the branch's head gets: inside a turn, the state as before that turn."""
    return branch.turn.before if branch.turn is not None else branch.memory


# One function a kind of event: (branch, kind, record) -> branch -------------------------------------------


def _phase(branch: Branch, kind: PhaseEntered, record: EventRecord) -> Branch:
    turn = branch.turn
    if turn is None:
        return branch
    match kind.phase, turn.stage:
        case LoopPhase.SLEEP, _:
            return replace(branch, turn=None)
        case LoopPhase.EXECUTE, Granted() as granted:
            running = Running(
                call=granted.call,
                tool_run_id=granted.tool_run_id,
                effect_id=record.event_id,
                grant=granted.grant,
                deadline=granted.deadline,
            )
            return replace(branch, turn=replace(turn, stage=running))
    return branch


def _deliberated(branch: Branch, kind: DeliberationProposed, record: EventRecord) -> Branch:
    memory = _flush(branch.memory)
    if kind.summary:
        memory = _say(replace(memory, objective=kind.summary), "user", kind.summary)
    branch = replace(branch, memory=memory)
    return with_turn(branch, objective=kind.summary, inline=kind.proposed_tool is not None)


def _estimated(branch: Branch, kind: StateEstimated, record: EventRecord) -> Branch:
    branch = replace(branch, mode=kind.mode, estimated=True, memory=replace(branch.memory, vector=kind.state))
    if branch.turn is None or branch.turn.ran:
        return branch
    return with_turn(branch, streak=kind.state.error_streak)


def _mode_changed(branch: Branch, kind: ModeChanged, record: EventRecord) -> Branch:
    branch = replace(branch, mode=kind.to)
    turn = branch.turn
    if turn is None or not (turn.ran or turn.resumed) or kind.to is not OperatingMode.RECOVER:
        return branch
    return replace(branch, turn=replace(turn, recovering=True))


def _run_started(branch: Branch, kind: RunStarted, record: EventRecord) -> Branch:
    return with_turn(branch, ran=True)


def _step_started(branch: Branch, kind: StepStarted, record: EventRecord) -> Branch:
    if branch.turn is None or branch.turn.inline:
        return branch
    return replace(branch, turn=replace(branch.turn, stage=Thinking()), model_calls=branch.model_calls + 1)


def _delta(branch: Branch, kind: TextDelta, record: EventRecord) -> Branch:
    return replace(branch, memory=replace(branch.memory, speaking=branch.memory.speaking + kind.delta))


def _message(branch: Branch, kind: Message, record: EventRecord) -> Branch:
    if kind.role != "assistant":
        return branch
    return replace(branch, memory=replace(branch.memory, speaking=branch.memory.speaking + kind.content))


def _run_finished(branch: Branch, kind: RunFinished, record: EventRecord) -> Branch:
    memory = branch.memory
    if not memory.speaking and kind.final_answer:
        memory = replace(memory, speaking=kind.final_answer)
    return replace(branch, memory=_flush(memory))


def _run_errored(branch: Branch, kind: RunErrored, record: EventRecord) -> Branch:
    turn = branch.turn
    if turn is None or turn.cancelling:
        return with_turn(branch, stage=Settling(), failed=True)
    return _penalised(branch)


def _requested(branch: Branch, kind: ToolCallRequested, record: EventRecord) -> Branch:
    signature = call_signature(kind.tool_name, kind.arguments)
    memory = branch.memory
    branch = replace(
        branch,
        calls=_remember(branch.calls, kind.call_id),
        memory=replace(memory, loop=(*memory.loop[-LOOP_MEMORY + 1 :], signature)),
    )
    turn = branch.turn
    if turn is None:
        return branch
    call, rest = next_call(turn)
    if call is None:
        call = ToolCall(
            call_id=kind.call_id,
            tool_name=kind.tool_name,
            input=kind.arguments,
            requested_capabilities=turn.capabilities,
        )
    gating = Gating(call=call, tool_run_id=record.event_id, effect_id=record.event_id)
    return with_turn(branch, stage=gating, directives=rest)


def _evaluated(branch: Branch, kind: PolicyEvaluated, record: EventRecord) -> Branch:
    match branch.turn:
        case Turn(stage=Gating() as gating) if kind.rule_id == Rule.BUDGET:
            return with_turn(branch, stage=replace(gating, exempt=True))
        case Turn(stage=Gating(call=call, tool_run_id=run)) if (
            kind.decision is PolicyDecisionKind.REQUIRE_APPROVAL
        ):
            return with_turn(branch, stage=Asking(call=call, tool_run_id=run))
    return branch


def _asked(branch: Branch, kind: ApprovalRequested, record: EventRecord) -> Branch:
    match branch.turn:
        case Turn(stage=Asking(call=call, tool_run_id=run)) as turn:
            pass
        case _:
            return branch
    ticket = Ticket(
        approval_id=kind.approval_id,
        capability=kind.capability or "",
        requested_at=record.timestamp,
        risk=kind.risk,
    )
    *others, last = branch.waiting or (None,)
    if last is not None and last.tool_run_id == run:
        waiting = (*(w for w in others if w), replace(last, tickets=(*last.tickets, ticket)))
    else:
        new = WaitingCall(
            call=call,
            tool_run_id=run,
            command_id=turn.command_id,
            priority=turn.priority,
            tickets=(ticket,),
        )
        waiting = (*branch.waiting, new)
    return with_turn(replace(branch, waiting=waiting), asked=True)


def _resolved(branch: Branch, kind: ApprovalResolved, record: EventRecord) -> Branch:
    for call in branch.waiting:
        if not any(t.approval_id == kind.approval_id for t in call.tickets):
            continue
        tickets = tuple(
            replace(t, decision=kind.decision) if t.approval_id == kind.approval_id else t
            for t in call.tickets
        )
        call = replace(call, tickets=tickets)
        ended = kind.decision is not ApprovalDecision.APPROVED
        waiting = tuple(
            call if w.tool_run_id == call.tool_run_id else w
            for w in branch.waiting
            if not (w.tool_run_id == call.tool_run_id and (ended or call.approved))
        )
        branch = replace(branch, waiting=waiting)
        if not (ended or call.approved):
            return branch
        stage: Stage = (
            Settling()
            if ended
            else Gating(
                call=call.call,
                tool_run_id=call.tool_run_id,
                effect_id=record.event_id,
                tickets=tuple(t.approval_id for t in tickets),
            )
        )
        turn = Turn(
            command_id=call.command_id,
            run_id=call.tool_run_id,
            first_sequence=record.sequence,
            started_at=record.timestamp,
            before=branch.memory,
            stage=stage,
            streak=branch.memory.vector.error_streak,
            resumed=True,
            approval_id=kind.approval_id,
            priority=call.priority,
        )
        return replace(branch, turn=turn)
    return branch


def _started(branch: Branch, kind: ToolCallStarted, record: EventRecord) -> Branch:
    match branch.turn:
        case Turn(stage=Running() as running) if not running.started:
            return with_turn(branch, stage=replace(running, started=True))
    return branch


def _completed(branch: Branch, kind: ToolCallCompleted, record: EventRecord) -> Branch:
    success = kind.status is SpanStatus.OK
    vector = homeostasis.after_tool(branch.memory.vector, success=success)
    branch = replace(branch, memory=replace(branch.memory, vector=vector))
    if branch.turn is None:
        return branch
    return with_turn(
        branch,
        stage=Settling(),
        streak=min(branch.turn.streak, vector.error_streak),
        failed=branch.turn.failed or not success,
        recovering=branch.turn.recovering or (not success and branch.mode is OperatingMode.RECOVER),
    )


def _failed(branch: Branch, kind: ToolCallFailed, record: EventRecord) -> Branch:
    match branch.turn:
        case Turn(stage=Gating(exempt=False) | Running(), cancelling=False):
            return _penalised(branch)
    return with_turn(branch, stage=Settling())


def _custom(branch: Branch, kind: Custom, record: EventRecord) -> Branch:
    fact = extensions.read(kind)
    return _blocked(branch, kind) if fact is None else facts.applied(branch, fact, record)


def _blocked(branch: Branch, kind: Custom) -> Branch:
    if not kind.event_type.endswith(".hard_stop") or branch.turn is None:
        return branch
    data = kind.data if isinstance(kind.data, dict) else {}
    if kind.event_type == f"{loops.GUARD}.hard_stop":
        loop = (*branch.memory.loop[-LOOP_MEMORY + 1 :], str(data.get("signature")))
        branch = replace(branch, memory=replace(branch.memory, loop=loop))
    _, rest = next_call(branch.turn) if branch.turn else (None, ())
    return with_turn(branch, stage=Settling(), directives=rest)


# Helpers ---------------------------------------------------------------------------------------------------


def _penalised(branch: Branch) -> Branch:
    vector = homeostasis.after_error(branch.memory.vector)
    branch = replace(branch, memory=replace(branch.memory, vector=vector))
    return with_turn(branch, stage=Settling(), failed=True, recovering=True)


def _say(memory: Memory, role: str, content: str) -> Memory:
    turns = (*memory.history, ConversationTurn(role=role, content=content))
    return replace(memory, history=turns[-HISTORY_TURNS:])


def _flush(memory: Memory) -> Memory:
    if not memory.speaking:
        return memory
    return replace(_say(memory, "assistant", memory.speaking), speaking="")


_SESSION: dict[type, Callable[[Session, Any, EventRecord], Session]] = {
    SessionCreated: _created,
    SessionClosed: _closed,
    BranchCreated: _forked,
    BranchMerged: _merged,
    Custom: _fact,
}
"""What an event means for the whole session, told before what it means for its branch."""

_BRANCH: dict[type, Callable[[Branch, Any, EventRecord], Branch]] = {
    PhaseEntered: _phase,
    DeliberationProposed: _deliberated,
    StateEstimated: _estimated,
    ModeChanged: _mode_changed,
    RunStarted: _run_started,
    StepStarted: _step_started,
    TextDelta: _delta,
    Message: _message,
    RunFinished: _run_finished,
    RunErrored: _run_errored,
    ToolCallRequested: _requested,
    PolicyEvaluated: _evaluated,
    ApprovalRequested: _asked,
    ApprovalResolved: _resolved,
    ToolCallStarted: _started,
    ToolCallCompleted: _completed,
    ToolCallFailed: _failed,
    Custom: _custom,
}
