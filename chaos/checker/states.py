"""The state vectors of a session's branches, folded from the events that move them."""

from dataclasses import dataclass, field
from typing import Final

from msgspec.structs import replace

from chaos.checker.event import (
    BranchCreated,
    BudgetExtended,
    CheckpointCreated,
    CheckpointRestored,
    Event,
    ManifestSet,
    ModeChanged,
    RunErrored,
    StateEstimated,
    StateSet,
    ToolCallCompleted,
    ToolCallFailed,
)
from chaos.checker.names import MAIN
from chaos.checker.report import Notes, Rule
from chaos.checker.tools import BUDGET, Calls
from chaos.checker.turns import Turn, Turns
from chaos.checker.vector import Vector, after_error, after_tool, differences, extended, state_hash

_WOKEN: Final = "new objective"
_NOTHING: Final = Vector()


@dataclass(slots=True, eq=False)
class Mind:
    """What a branch's events have made of its state."""

    vector: Vector = _NOTHING
    before: Vector = _NOTHING
    """As it was when the turn in progress began: what a fork gets meanwhile."""
    turn: Turn | None = None
    """The one that `before` is of."""
    woken: bool = False
    """A new objective has set its progress back."""
    estimated: int = 0
    """Where it was told last."""
    inheritable: list[Vector] = field(default_factory=list)
    """What a fork gets, after each event; most are the same object."""
    checkpoints: dict[str, str] = field(default_factory=dict)
    """Their hashes."""


class States:
    """Of one session."""

    def __init__(self, notes: Notes, calls: Calls, turns: Turns) -> None:
        self._notes = notes
        self._calls = calls
        self._turns = turns
        self._minds = {MAIN: Mind()}

    def take(self, event: Event) -> None:
        """One event, after calls and turns have taken it."""
        mind, turn = self._minds.setdefault(event.branch_id, Mind()), self._turns.of(event.branch_id)
        if turn is not mind.turn:
            mind.turn, mind.before, mind.woken = turn, mind.vector, False
        match event.kind:
            case StateEstimated(state=told):
                self._estimate(event, mind, told)
            case ToolCallCompleted(status=status):
                self._completed(mind, success=status == "ok")
            case ToolCallFailed(call_id=call_id):
                self._failed(mind, event, call_id)
            case RunErrored():
                self._penalise(mind, unless=turn is None or turn.cancelling)
            case ModeChanged(reason=reason):
                mind.woken = reason == _WOKEN
            case CheckpointCreated() as checkpoint:
                self._checkpoint(event, mind, checkpoint)
            case BudgetExtended(extension=more):
                mind.vector, mind.before = extended(mind.vector, more), extended(mind.before, more)
            case StateSet(memory=memory):
                self._set(event, mind, memory.vector)
            case CheckpointRestored(checkpoint_id=checkpoint_id):
                self._restored(event, mind, checkpoint_id)
            case BranchCreated(from_branch=parent, fork_point_seq=fork):
                mind.vector = self._at(parent, fork)
            case ManifestSet(budget=budget) if budget is not None:
                mind.vector = replace(mind.vector, budget=budget)
        self._keep(event, mind, mind.vector if turn is None else mind.before)

    def close(self, event: Event) -> None:
        """The event has ended what it ends: between turns, a fork gets what there is."""
        mind = self._minds[event.branch_id]
        if mind.turn is not None and self._turns.of(event.branch_id) is None:
            mind.turn = None
            mind.inheritable[-1] = mind.vector

    def _estimate(self, event: Event, mind: Mind, told: Vector) -> None:
        """At the beginning of a turn nothing has moved, at its end everything has."""
        due, turn = mind.vector, mind.turn
        if mind.woken:
            due = replace(due, progress=0.0)
        elif turn is not None and turn.ran and not (turn.failed or turn.cancelling):
            due = replace(due, error_streak=0)
        mind.woken = False
        wrong = list(differences(told, due))
        if wrong:
            self._notes.say(Rule.STATE, f"the state told is not what led to it: {'; '.join(wrong)}", event)
        mind.vector, mind.estimated = told, event.sequence

    def _completed(self, mind: Mind, *, success: bool) -> None:
        mind.vector = after_tool(mind.vector, success=success)
        if mind.turn is not None:
            mind.turn.failed = mind.turn.failed or not success

    def _failed(self, mind: Mind, event: Event, call_id: str) -> None:
        """A word of people, a cancelled call and a budget that is spent are no errors."""
        call, turn = self._calls.find(event.branch_id, call_id), mind.turn
        spent = call is not None and call.verdict is not None and call.verdict.rule_id == BUDGET
        self._penalise(mind, unless=spent or turn is None or turn.cancelling or turn.declined)

    def _penalise(self, mind: Mind, *, unless: bool) -> None:
        if not unless:
            mind.vector = after_error(mind.vector)
            if mind.turn is not None:
                mind.turn.failed = True

    def _checkpoint(self, event: Event, mind: Mind, checkpoint: CheckpointCreated) -> None:
        self._notes.counts.checkpoints += 1
        due = state_hash(mind.vector)
        if checkpoint.state_hash != due:
            text = f"the checkpoint's hash is {checkpoint.state_hash}, the state's is {due}"
            self._notes.say(Rule.STATE, text, event)
        if checkpoint.event_sequence != mind.estimated:
            text = f"the checkpoint is of {checkpoint.event_sequence}, the state was told at {mind.estimated}"
            self._notes.say(Rule.STATE, text, event)
        mind.checkpoints[checkpoint.checkpoint_id] = due

    def _set(self, event: Event, mind: Mind, vector: Vector) -> None:
        """On a fork it must be what the parent had; a checkpoint's is looked at when that is named."""
        if event.sequence == 2 and event.branch_id != MAIN:
            wrong = list(differences(vector, mind.vector))
            if wrong:
                text = f"the fork does not begin with its parent's state: {'; '.join(wrong)}"
                self._notes.say(Rule.STATE, text, event)
        mind.vector = vector

    def _restored(self, event: Event, mind: Mind, checkpoint_id: str) -> None:
        if mind.checkpoints.get(checkpoint_id) != state_hash(mind.vector):
            self._notes.say(
                Rule.STATE, f"the state restored is not that of checkpoint {checkpoint_id}", event
            )

    def _at(self, branch: str, sequence: int) -> Vector:
        """What a fork gets: as of its sequence, inside a turn as before that."""
        mind, turn = self._minds.get(branch), self._turns.of(branch)
        if mind is None:
            return _NOTHING
        if turn is not None and sequence >= turn.first.sequence - 1:
            return mind.before  # with what was added to its budget since
        known = mind.inheritable
        return known[sequence - 1] if 0 < sequence <= len(known) else _NOTHING

    def _keep(self, event: Event, mind: Mind, vector: Vector) -> None:
        known = mind.inheritable
        known.extend(vector for _ in range(event.sequence - len(known)))  # more than one after a gap
