"""The state of a branch as its log tells it: the last estimate, and what was added to the budget since."""

from typing import Final

import msgspec
from msgspec.structs import replace

from vagus.contract.events import BudgetUpdated, Custom, EventRecord, StateEstimated
from vagus.contract.ids import MAIN
from vagus.contract.sessions import BranchInfo, BudgetExtension
from vagus.contract.state import AgentStateVector, BudgetState, OperatingMode
from vagus.runtime.eventlog import EventLog

WINDOW: Final = 64
"""Events read back over at a time; a tick has fewer."""


class Estimate(msgspec.Struct, frozen=True, kw_only=True):
    """Where a branch stands between two turns."""

    mode: OperatingMode = OperatingMode.EXPLORE
    state: AgentStateVector = AgentStateVector()


class _Mind(msgspec.Struct):
    vector: AgentStateVector = AgentStateVector()


class _StateSet(msgspec.Struct):
    memory: _Mind = msgspec.field(default_factory=_Mind)


class _Manifest(msgspec.Struct):
    budget: BudgetState | None = None


class _Extended(msgspec.Struct):
    extension: BudgetExtension


async def estimate(
    log: EventLog, session_id: str, branch: BranchInfo, parents: dict[str, BranchInfo]
) -> Estimate:
    """The estimate of a branch; a fork that has not had a turn has that of its parent at the fork."""
    last = branch.head_sequence
    newer: list[EventRecord] = []
    while True:
        while last > 0:
            first = max(1, last - WINDOW + 1)
            window = await log.read(session_id, branch.branch_id, from_sequence=first, limit=last - first + 1)
            newer = window + newer
            if any(_anchors(event) for event in window):
                return _folded(newer)
            last = first - 1
        if branch.parent_branch is None:
            return _folded(newer)
        last, branch = branch.fork_sequence, parents[branch.parent_branch]


def _anchors(event: EventRecord) -> bool:
    match event.kind:
        case StateEstimated() | Custom(event_type="vagus.state_set"):
            return True
        case _:
            return event.sequence == 1 and event.branch_id == MAIN


def _folded(events: list[EventRecord]) -> Estimate:
    found = Estimate()
    for event in events:
        match event.kind:
            case StateEstimated(state=state, mode=mode):
                found = Estimate(mode=mode, state=state)
            case Custom(event_type="vagus.state_set", data=data):
                found = replace(found, state=msgspec.convert(data, _StateSet).memory.vector)
            case Custom(event_type="vagus.manifest_set", data=data):
                budget = msgspec.convert(data, _Manifest).budget
                found = _with_budget(found, budget or found.state.budget)
            case Custom(event_type="vagus.budget_extended", data=data):
                more = msgspec.convert(data, _Extended).extension
                found = _with_budget(found, _sum(found.state.budget, more))
            case BudgetUpdated(budget=budget):
                found = _with_budget(found, budget)
            case _:
                pass
    return found


def _with_budget(found: Estimate, budget: BudgetState) -> Estimate:
    return replace(found, state=replace(found.state, budget=budget))


def _sum(budget: BudgetState, more: BudgetExtension) -> BudgetState:
    return BudgetState(
        tokens_remaining=budget.tokens_remaining + more.tokens,
        time_remaining_ms=budget.time_remaining_ms + more.time_ms,
        cost_remaining_usd=budget.cost_remaining_usd + more.cost_usd,
        tool_calls_remaining=budget.tool_calls_remaining + more.tool_calls,
        error_budget_remaining=budget.error_budget_remaining + more.errors,
    )
