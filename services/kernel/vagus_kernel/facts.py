"""What the kernel's own facts mean for a branch: a part of `evolve`, as total as that."""

from collections.abc import Callable
from typing import Any

from msgspec.structs import replace

from vagus.contract import extensions
from vagus.contract.events import EventRecord
from vagus.contract.extensions import Memory
from vagus.contract.models import CallTool
from vagus.contract.tools import ToolCall
from vagus_kernel.state import Answer, Branch, Gating, Granted, Settling, Turn


def applied(branch: Branch, fact: extensions.Fact, record: EventRecord) -> Branch:
    """The branch after one of them."""
    handler = _FACTS.get(type(fact))
    return handler(branch, fact, record) if handler else branch


def with_turn(branch: Branch, **changes: Any) -> Branch:
    """The branch with its turn changed, if one is in progress."""
    return replace(branch, turn=replace(branch.turn, **changes)) if branch.turn is not None else branch


def next_call(turn: Turn) -> tuple[ToolCall | None, tuple[Any, ...]]:
    """The next tool call among the directives left, and what is left after it."""
    for index, directive in enumerate(turn.directives):
        if isinstance(directive, CallTool):
            return directive.call, turn.directives[index + 1 :]
    return None, ()


def _manifest(branch: Branch, fact: extensions.ManifestSet, record: EventRecord) -> Branch:
    if fact.budget is None:
        return branch
    vector = replace(branch.memory.vector, budget=fact.budget)
    return replace(branch, memory=replace(branch.memory, vector=vector))


def _turn_started(branch: Branch, fact: extensions.TurnStarted, record: EventRecord) -> Branch:
    turn = Turn(
        command_id=record.correlation_id or "",
        run_id=fact.run_id,
        first_sequence=record.sequence,
        started_at=record.timestamp,
        before=branch.memory,
        stage=Settling(),
        system_prompt=fact.system_prompt,
        allowed_tools=fact.allowed_tools,
        capabilities=fact.capabilities,
        guards=tuple(fact.guards.items()),
        priority=fact.priority,
    )
    return replace(branch, turn=turn)


def _answered(branch: Branch, fact: extensions.ModelAnswered, record: EventRecord) -> Branch:
    completion = fact.completion
    answer = Answer(
        model=completion.model,
        stop_reason=completion.stop_reason,
        directive_count=len(completion.directives),
        usage=completion.usage,
        final_answer=completion.final_answer,
    )
    return with_turn(
        branch,
        stage=Settling(),
        answer=answer,
        directives=completion.directives,
        guards=tuple(fact.guards.items()),
    )


def _refused(branch: Branch, fact: extensions.CallRefused, record: EventRecord) -> Branch:
    if branch.turn is None:
        return branch
    _, rest = next_call(branch.turn)
    return with_turn(branch, stage=Settling(), directives=rest)


def _granted(branch: Branch, fact: extensions.CallGranted, record: EventRecord) -> Branch:
    match branch.turn:
        case Turn(stage=Gating(call=call, tool_run_id=run)):
            granted = Granted(call=call, tool_run_id=run, grant=fact.grant, deadline=fact.deadline)
            return with_turn(branch, stage=granted)
    return branch


def _cancelling(branch: Branch, fact: extensions.CancelRequested, record: EventRecord) -> Branch:
    return with_turn(branch, cancelling=True, directives=())


def _extended(branch: Branch, fact: extensions.BudgetExtended, record: EventRecord) -> Branch:
    def add(memory: Memory) -> Memory:
        budget, more = memory.vector.budget, fact.extension
        budget = replace(
            budget,
            tokens_remaining=budget.tokens_remaining + more.tokens,
            time_remaining_ms=budget.time_remaining_ms + more.time_ms,
            cost_remaining_usd=budget.cost_remaining_usd + more.cost_usd,
            tool_calls_remaining=budget.tool_calls_remaining + more.tool_calls,
            error_budget_remaining=budget.error_budget_remaining + more.errors,
        )
        return replace(memory, vector=replace(memory.vector, budget=budget))

    branch = replace(branch, memory=add(branch.memory))
    return with_turn(branch, before=add(branch.turn.before)) if branch.turn else branch


def _state_set(branch: Branch, fact: extensions.StateSet, record: EventRecord) -> Branch:
    return replace(branch, memory=fact.memory)


_Handler = Callable[[Branch, Any, EventRecord], Branch]

_FACTS: dict[type, _Handler] = {
    extensions.ManifestSet: _manifest,
    extensions.TurnStarted: _turn_started,
    extensions.ModelAnswered: _answered,
    extensions.CallRefused: _refused,
    extensions.CallGranted: _granted,
    extensions.CancelRequested: _cancelling,
    extensions.BudgetExtended: _extended,
    extensions.StateSet: _state_set,
}
