"""What stands around the kinds: the original's envelope with the rulings on it (W81, N14)."""

from collections.abc import Callable, Sequence

import pytest

from tests.parity.applicability import NOT_PLAYED
from tests.parity.core_world import CoreWorld
from tests.parity.trace import names
from vagus.contract.events import (
    Actor,
    ActorType,
    ApprovalRequested,
    ApprovalResolved,
    BranchCreated,
    EventRecord,
    Schema,
    ToolCallFailed,
    ToolCallRequested,
    ToolCallStarted,
)

PLAYED = [name for name in names() if name not in NOT_PLAYED]


@pytest.fixture(params=PLAYED)
def records(request: pytest.FixtureRequest, played: Callable[[str], CoreWorld]) -> Sequence[EventRecord]:
    return played(request.param).records


def test_n14_one_agent_id_stands_on_all_events_of_a_session(records: Sequence[EventRecord]) -> None:
    agents = {(record.session_id, record.agent_id) for record in records}
    assert len(agents) == len({session for session, _ in agents})


def test_sequences_count_from_one_without_gaps_and_ids_are_unique(records: Sequence[EventRecord]) -> None:
    heads: dict[tuple[str, str], int] = {}
    for record in records:
        key = (record.session_id, record.branch_id)
        assert record.sequence == heads.get(key, 0) + 1
        heads[key] = record.sequence
    assert len({record.event_id for record in records}) == len(records)


def test_w81_actor_causation_and_correlation_are_set(records: Sequence[EventRecord]) -> None:
    for record in records:
        assert record.actor == Actor(type=ActorType.SYSTEM, component="vagus-kernel")
        assert record.schema == Schema()
        assert record.causation_id
        assert record.correlation_id


def test_a_resumed_call_keeps_the_correlation_of_its_first_tick(records: Sequence[EventRecord]) -> None:
    asked = {r.kind.approval_id: r.correlation_id for r in records if isinstance(r.kind, ApprovalRequested)}
    for record in records:
        if isinstance(record.kind, ApprovalResolved):
            assert record.correlation_id == asked[record.kind.approval_id]


def test_additive_fields_are_there_and_true(records: Sequence[EventRecord]) -> None:
    requested: dict[str, str] = {}
    for record in records:
        match record.kind:
            case ToolCallRequested(call_id=call_id, tool_name=tool):
                requested[call_id] = tool
            case ToolCallStarted(call_id=call_id):
                assert call_id in requested
            case ToolCallFailed(call_id=call_id, tool_name=tool):
                assert requested[call_id] == tool
            case ApprovalRequested(call_id=call_id, tool_name=tool, capability=capability, reason=reason):
                assert requested[call_id] == tool
                assert capability
                assert reason == f"approval required for tool {tool}"
            case BranchCreated(from_branch=parent):
                assert parent is not None
