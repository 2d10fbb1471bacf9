"""What becomes of a ticket."""

from itertools import product
from typing import Any

import pytest
from msgspec.structs import replace

from vagus.contract.approvals import Answer, ApprovalDecision, ApprovalTicket, TicketState
from vagus.contract.clock import parse
from vagus.contract.errors import InvalidId, Malformed
from vagus_approver.tickets import Settlement, ask, check_answer, check_ticket, resolution_of, settle

EXPIRES = "2026-01-01T01:00:00Z"
BEFORE = parse("2026-01-01T00:59:59.999999999Z")
AFTER = parse(EXPIRES)
TICKET = ApprovalTicket(
    approval_id="t1",
    session_id="s",
    call_id="any text",
    tool_name="pay",
    capability="payments:initiate",
    reason="approval required for tool pay",
    created_at="2026-01-01T00:00:00Z",
    branch_id="main",
    tool_run_id="r",
    arguments={"amount": 3},
    expires_at=EXPIRES,
)
FINAL = [state for state in TicketState if state is not TicketState.PENDING]


def ticket(state: TicketState, **changes: Any) -> ApprovalTicket:
    return replace(TICKET, state=state, **changes)


def answer(decision: str, actor: str = "ann", reason: str = "") -> Answer:
    return Answer(
        answer_id="a1", approval_id="t1", decision=ApprovalDecision(decision), actor=actor, reason=reason
    )


@pytest.mark.parametrize("decision", ["approved", "denied"])
def test_an_answer_ends_a_pending_ticket(decision: str) -> None:
    done = settle(TICKET, answer(decision, reason="because"), BEFORE)
    assert done.changed
    assert done.ours
    assert done.ticket == ticket(
        TicketState(decision),
        resolved_by="ann",
        resolved_at="2026-01-01T00:59:59.999999999Z",
        resolved_reason="because",
        resolved_answer="a1",
    )
    said = resolution_of(done.ticket)
    assert said is not None
    assert (said.approval_id, said.decision, said.actor, said.reason) == ("t1", decision, "ann", "because")


@pytest.mark.parametrize("decision", ["approved", "denied", "timeout"])
def test_any_answer_to_an_expired_ticket_finds_it_timed_out(decision: str) -> None:
    done = settle(TICKET, answer(decision), AFTER)
    assert done.changed
    assert done.ticket.state is TicketState.TIMEOUT
    assert done.ours
    said = resolution_of(done.ticket)
    assert said is not None
    assert (said.decision, said.actor) == ("timeout", "")


def test_nobody_can_make_a_ticket_time_out_early() -> None:
    done = settle(TICKET, answer("timeout"), BEFORE)
    assert done == Settlement(TICKET, changed=False, ours=False)


@pytest.mark.parametrize(
    ("state", "decision", "when"),
    list(product(FINAL, ["approved", "denied", "timeout"], [BEFORE, AFTER])),
)
def test_what_has_ended_never_changes(state: TicketState, decision: str, when: int) -> None:
    ended = ticket(state, resolved_by="bob", resolved_answer="a0")
    assert settle(ended, answer(decision), when) == Settlement(ended, changed=False, ours=False)


@pytest.mark.parametrize(
    ("decision", "when"), [("approved", BEFORE), ("denied", BEFORE), ("denied", AFTER), ("timeout", AFTER)]
)
def test_an_answer_that_comes_again_is_known(decision: str, when: int) -> None:
    ended = settle(TICKET, answer(decision), when).ticket
    assert settle(ended, answer(decision), AFTER) == Settlement(ended, changed=False, ours=True)
    other = replace(answer(decision), answer_id="a2")
    assert settle(ended, other, AFTER) == Settlement(ended, changed=False, ours=False)


def test_asking_again_changes_nothing() -> None:
    assert ask(TICKET, None, BEFORE) == TICKET
    for state in TicketState:
        assert ask(TICKET, ticket(state), BEFORE) == ticket(state)


def test_withdrawing_ends_only_a_pending_ticket() -> None:
    withdrawn = ask(ticket(TicketState.WITHDRAWN), TICKET, BEFORE)
    assert withdrawn.state is TicketState.WITHDRAWN
    assert withdrawn.resolved_at is not None
    for state in FINAL:
        assert ask(ticket(TicketState.WITHDRAWN), ticket(state), BEFORE) == ticket(state)


def test_a_withdrawal_that_overtakes_its_question_stands() -> None:
    kept = ask(ticket(TicketState.WITHDRAWN), None, BEFORE)
    assert kept.state is TicketState.WITHDRAWN
    assert ask(TICKET, kept, BEFORE) == kept


def test_the_kernel_is_not_told_of_what_it_withdrew_itself_or_what_still_waits() -> None:
    assert resolution_of(TICKET) is None
    assert resolution_of(ticket(TicketState.WITHDRAWN)) is None


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"session_id": "other"}, "a ticket of session 'other' among those of 's'"),
        ({"approval_id": "a.b"}, "invalid approval id"),
        ({"approval_id": ""}, "invalid approval id"),
        ({"expires_at": "soon"}, "not an RFC 3339 time"),
        ({"state": TicketState.APPROVED}, "not approved"),
    ],
)
def test_a_ticket_that_cannot_be_kept_is_malformed(changes: dict[str, Any], why: str) -> None:
    with pytest.raises((Malformed, InvalidId), match=why):
        check_ticket(replace(TICKET, **changes), "s")


def test_an_answer_is_bounded() -> None:
    check_answer(answer("approved", actor="a" * 256, reason="r" * 4096))
    with pytest.raises(Malformed, match="256"):
        check_answer(answer("approved", actor="a" * 257))
    with pytest.raises(Malformed, match="4096"):
        check_answer(answer("approved", reason="r" * 4097))
