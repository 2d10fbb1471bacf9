"""Logs and buckets on which tool calls, grants and tickets do not fit together."""

import json
from base64 import urlsafe_b64decode, urlsafe_b64encode
from pathlib import Path

import pytest

from chaos.checker.report import Rule
from tests.kit.recording import Plant, Plants, Recording, Tape, again, assert_found

planted = Plants()


def regranted(tape: Tape, **changes: str) -> None:
    """Change what the grant of the tick `pay` is for."""
    data = tape.find("vagus.call_granted", tick="pay")["kind"]["data"]
    payload, _, signature = data["grant"].partition(".")
    grant = json.loads(urlsafe_b64decode(payload + "=" * (-len(payload) % 4))) | changes
    data["grant"] = f"{urlsafe_b64encode(json.dumps(grant).encode()).decode().rstrip('=')}.{signature}"
    tape.play()


@planted(Rule.CALL, "has not ended, and is made again")
def a_call_is_requested_while_it_waits(recording: Recording) -> None:
    tape = recording.edit("work")
    one = tape.find("ToolCallRequested", tick="declined")
    tape.after(one, again(one))
    tape.play()


@planted(Rule.CALL, "a verdict on fs.read, and no call waits for one")
def a_verdict_is_on_no_call(recording: Recording) -> None:
    tape = recording.edit("work")
    tape.after(tape.find("ToolCallFailed", tick="denied"), again(tape.find("PolicyEvaluated", tick="denied")))
    tape.play()


@planted(Rule.CALL, "the tool run nobody's starts, and nobody requested it")
def a_tool_run_starts_that_nobody_requested(recording: Recording) -> None:
    tape = recording.edit("work")
    started = tape.find("ToolCallStarted", tick="pay")
    tape.after(started, again(started, tool_run_id="nobody's"))
    tape.play()


@planted(Rule.CALL, "the call call-pay of chaos.pay starts a second time")
def a_tool_run_starts_twice(recording: Recording) -> None:
    tape = recording.edit("work")
    started = tape.find("ToolCallStarted", tick="pay")
    tape.after(started, again(started))
    tape.play()


@planted(Rule.CALL, "is completed as tool run nobody's")
def a_call_is_completed_by_another_run(recording: Recording) -> None:
    tape = recording.edit("work")
    tape.find("ToolCallCompleted", tick="pay")["kind"]["tool_run_id"] = "nobody's"
    tape.play()


@planted(Rule.CALL, "the call nobody's ends, and nobody made it on this branch")
def a_call_ends_that_nobody_made(recording: Recording) -> None:
    tape = recording.edit("work")
    failed = tape.find("ToolCallFailed", tick="declined")
    tape.after(failed, again(failed, call_id="nobody's"))
    tape.play()


@planted(Rule.CALL, "ends a second time, first by ToolCallFailed")
def a_call_ends_twice(recording: Recording) -> None:
    tape = recording.edit("work")
    failed = tape.find("ToolCallFailed", tick="declined")
    tape.after(failed, again(failed))
    tape.play()


@planted(Rule.CALL, "the call call-declined of chaos.pay has no end")
def a_call_has_no_end(recording: Recording) -> None:
    tape = recording.edit("work")
    tape.drop(tape.find("ToolCallFailed", tick="declined"))
    tape.play()


@planted(Rule.GRANT, "a grant for the tool run nobody's, which nobody requested")
def a_grant_is_for_nobody(recording: Recording) -> None:
    tape = recording.edit("work")
    granted = tape.find("vagus.call_granted", tick="pay")
    other = again(granted)
    other["kind"]["data"]["tool_run_id"] = "nobody's"
    tape.after(granted, other)
    tape.play()


@planted(Rule.GRANT, "the call call-pay of chaos.pay is granted, and the verdict on it was deny")
def a_denied_call_is_granted(recording: Recording) -> None:
    tape = recording.edit("work")
    tape.find("PolicyEvaluated", tick="pay")["kind"]["decision"] = "deny"
    tape.play()


@planted(Rule.GRANT, "the verdict on it was nothing")
def a_call_is_granted_that_nobody_judged(recording: Recording) -> None:
    tape = recording.edit("work")
    tape.drop(tape.find("PolicyEvaluated", tick="pay"))
    tape.play()


@planted(Rule.GRANT, "the call call-pay of chaos.pay ran without a grant on the log")
def a_tool_runs_without_a_grant(recording: Recording) -> None:
    tape = recording.edit("work")
    tape.drop(tape.find("vagus.call_granted", tick="pay"))
    tape.play()


@planted(Rule.GRANT, "is for session_id 'other'")
def a_grant_is_for_another_session(recording: Recording) -> None:
    regranted(recording.edit("work"), session_id="other")


@planted(Rule.GRANT, "is for branch_id 'other'")
def a_grant_is_for_another_branch(recording: Recording) -> None:
    regranted(recording.edit("work"), branch_id="other")


@planted(Rule.GRANT, "is for tool_run_id 'other'")
def a_grant_is_for_another_run(recording: Recording) -> None:
    regranted(recording.edit("work"), tool_run_id="other")


@planted(Rule.GRANT, "is for call_hash ")
def a_call_is_not_what_was_granted(recording: Recording) -> None:
    tape = recording.edit("work")
    tape.find("ToolCallRequested", tick="pay")["kind"]["arguments"]["key"] = "everything"
    tape.play()


@planted(Rule.GRANT, "is for something that cannot be read, 'gibberish'")
def a_grant_cannot_be_read(recording: Recording) -> None:
    tape = recording.edit("work")
    tape.find("vagus.call_granted", tick="pay")["kind"]["data"]["grant"] = "gibberish"
    tape.play()


@planted(Rule.APPROVAL, "was opened before")
def a_ticket_is_opened_twice(recording: Recording) -> None:
    tape = recording.edit("work")
    one = tape.find("ApprovalRequested", tick="declined")
    tape.after(one, again(one))
    tape.play()


@planted(Rule.APPROVAL, "is for the call nobody's, which does not wait")
def a_ticket_is_for_no_call(recording: Recording) -> None:
    tape = recording.edit("work")
    one = tape.find("ApprovalRequested", tick="declined")
    tape.after(one, again(one, approval_id="new", call_id="nobody's"))
    tape.play()


@planted(Rule.APPROVAL, "the ticket new is resolved, and was never opened")
def a_ticket_is_resolved_that_was_never_opened(recording: Recording) -> None:
    tape = recording.edit("work")
    resolved = tape.find("ApprovalResolved", tick="declined")
    tape.after(resolved, again(resolved, approval_id="new"))
    tape.play()


@planted(Rule.APPROVAL, "is resolved a second time, first at")
def a_ticket_is_resolved_twice(recording: Recording) -> None:
    tape = recording.edit("work")
    resolved = tape.find("ApprovalResolved", tick="declined")
    tape.after(resolved, again(resolved))
    tape.play()


@planted(Rule.APPROVAL, "is of branch main")
def a_ticket_is_resolved_on_another_branch(recording: Recording) -> None:
    tape = recording.edit("work")
    tape.find("ApprovalResolved", tick="both")["branch_id"] = "early"
    tape.play()


@planted(Rule.APPROVAL, "is resolved, and its call has ended")
def a_ticket_is_resolved_too_late(recording: Recording) -> None:
    tape = recording.edit("work")
    both = {tape.find("ApprovalRequested", nth, tick="either")["kind"]["approval_id"] for nth in (0, 1)}
    resolved = tape.find("ApprovalResolved", tick="either")
    [left] = both - {resolved["kind"]["approval_id"]}
    tape.after(tape.find("ToolCallFailed", tick="either"), again(resolved, approval_id=left))
    tape.play()


@planted(Rule.APPROVAL, "is not approved")
def a_call_is_granted_whose_ticket_is_denied(recording: Recording) -> None:
    tape = recording.edit("work")
    tape.find("ApprovalResolved", tick="approved")["kind"]["decision"] = "denied"
    tape.play()


def asked(recording: Recording, tick: str) -> str:
    """The first ticket of a tick."""
    approval_id: str = recording.edit("work").find("ApprovalRequested", tick=tick)["kind"]["approval_id"]
    return approval_id


def ticket(recording: Recording, approval_id: str, state: str | None) -> None:
    """Let a ticket be in another state where people answer; None: let it not be there."""
    kept = recording.kept[recording.names.bucket("TICKETS")]
    place = next(place for place, message in enumerate(kept) if message.subject.endswith(approval_id))
    if state is None:
        kept[place] = kept[place]._replace(headers={"KV-Operation": "DEL"}, data=b"")
    else:
        data = json.loads(kept[place].data) | {"state": state}
        kept[place] = kept[place]._replace(data=json.dumps(data).encode())


def unanswered(recording: Recording, state: str | None) -> None:
    """Let nothing be on the log of how `declined` ended."""
    tape = recording.edit("work")
    tape.commits.remove(tape.commit_of(tape.find("ApprovalResolved", tick="declined")))
    tape.play()
    ticket(recording, asked(recording, "declined"), state)


@planted(Rule.APPROVAL, "is approved on the log, and denied where people answer")
def a_denied_ticket_is_taken_for_approved(recording: Recording) -> None:
    ticket(recording, asked(recording, "approved"), "denied")


@planted(Rule.APPROVAL, "is approved on the log, and pending where people answer")
def a_ticket_is_approved_that_nobody_answered(recording: Recording) -> None:
    ticket(recording, asked(recording, "approved"), "pending")


@planted(Rule.APPROVAL, "is timeout on the log, and denied where people answer")
def a_denied_ticket_is_taken_for_timed_out(recording: Recording) -> None:
    tape = recording.edit("work")
    tape.find("ApprovalResolved", tick="declined")["kind"]["decision"] = "timeout"
    tape.play()


@planted(Rule.APPROVAL, "is not on the log, and people are asked")
def people_are_asked_for_nothing(recording: Recording) -> None:
    kept = recording.kept[recording.names.bucket("TICKETS")]
    kept.append(kept[-1]._replace(subject=kept[-1].subject + "-new"))


@planted(Rule.APPROVAL, "was answered, denied, and its call still waits")
def an_answer_is_lost(recording: Recording) -> None:
    unanswered(recording, "denied")


@planted(Rule.APPROVAL, "still waits for an answer")
def a_ticket_was_left_open(recording: Recording) -> None:
    unanswered(recording, "pending")


@planted(Rule.APPROVAL, "is nowhere, and its call still waits")
def nobody_was_asked(recording: Recording) -> None:
    unanswered(recording, None)


@planted(Rule.APPROVAL, "is withdrawn, and its call still waits")
def a_ticket_was_withdrawn_for_no_reason(recording: Recording) -> None:
    unanswered(recording, "withdrawn")


@planted(Rule.APPROVAL, "still asks people, and its call has ended")
def people_are_asked_in_vain(recording: Recording) -> None:
    tape = recording.edit("work")
    both = {tape.find("ApprovalRequested", nth, tick="either")["kind"]["approval_id"] for nth in (0, 1)}
    [left] = both - {tape.find("ApprovalResolved", tick="either")["kind"]["approval_id"]}
    ticket(recording, left, "pending")


@pytest.mark.parametrize("plant", planted, ids=str)
async def test_a_call_that_does_not_fit_is_found(plant: Plant, recording: Recording, tmp_path: Path) -> None:
    await assert_found(plant, recording, tmp_path)


async def test_a_ticket_that_approvers_have_forgotten_is_no_violation(
    recording: Recording, tmp_path: Path
) -> None:
    ticket(recording, asked(recording, "approved"), None)
    assert (await recording.checked(tmp_path)).ok
