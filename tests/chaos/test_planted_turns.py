"""Logs whose turns do not fit together, or not with what clients were told."""

from pathlib import Path

import pytest

from chaos.checker.report import Rule
from tests.kit.recording import Plant, Plants, Recording, again, assert_found

planted = Plants()


@planted(Rule.TURN, "a turn of put begins, and that of text has not ended")
def a_turn_has_no_end(recording: Recording) -> None:
    tape = recording.edit("work")
    tape.drop(tape.find("PhaseEntered", tick="text", phase="sleep"))
    tape.play()


@planted(Rule.TURN, "the turn of broken-3")
def the_last_turn_has_no_end(recording: Recording) -> None:
    tape = recording.edit("mute")
    tape.drop(tape.find("PhaseEntered", tick="broken-3", phase="sleep"))
    tape.play()


@planted(Rule.TURN, "Heartbeat of somebody in the turn of text")
def an_event_is_of_another_command(recording: Recording) -> None:
    tape = recording.edit("work")
    tape.find("Heartbeat", tick="text")["correlation_id"] = "somebody"
    tape.play()


@planted(Rule.TURN, "Heartbeat stands outside of any turn")
def an_event_comes_late(recording: Recording) -> None:
    tape = recording.edit("work")
    late = again(tape.find("Heartbeat", tick="text"))
    tape.after(tape.find("PhaseEntered", tick="text", phase="sleep"), late)
    tape.play()


@planted(Rule.TURN, "PhaseEntered stands outside of any turn")
def a_session_sleeps_twice(recording: Recording) -> None:
    tape = recording.edit("poor")
    sleep = tape.find("PhaseEntered")
    tape.after(sleep, again(sleep))
    tape.play()


@planted(Rule.TICK, "the tick text begins again")
def a_tick_ran_twice(recording: Recording) -> None:
    tape = recording.edit("work")
    place = tape.commits.index(tape.commit_of(tape.find("vagus.turn_started", tick="put")))
    turn = [event for event in tape.events() if event.get("correlation_id") == "text"]
    told = [again(event) for event in turn if event["kind"]["type"] != "CheckpointCreated"]
    tape.commits.insert(place, told)
    tape.play()


@planted(Rule.TICK, "the tick restored begins, and was cancelled at main ")
def a_tick_ran_that_was_cancelled(recording: Recording) -> None:
    tape = recording.edit("work")
    tape.find("vagus.ticks_dropped")["kind"]["data"]["dropped"].append("restored")
    tape.play()


@planted(Rule.TICK, "the tick bygone was meant for main")
def a_tick_ran_on_another_branch(recording: Recording) -> None:
    recording.line("bygone")["branch_id"] = "main"


@planted(Rule.TICK, "the tick lost was accepted, and nothing of it is on the log")
def an_accepted_tick_is_lost(recording: Recording) -> None:
    recording.accepted.append({"session_id": "poor", "branch_id": "main", "command_id": "lost"})


@planted(Rule.TICK, "the tick lost was accepted, and nothing of it is on the log")
def a_whole_session_is_lost(recording: Recording) -> None:
    recording.accepted.append({"session_id": "lost", "branch_id": "main", "command_id": "lost"})


@planted(Rule.TICK, "the tick lost was accepted, and nothing of it is on the log")
def nobody_knows_what_became_of_a_tick(recording: Recording) -> None:
    reply = {"error": {"type": "OutcomeUnknown", "message": "no reply in time"}}
    line = {"session_id": "poor", "branch_id": "main", "command_id": "lost", "reply": reply}
    recording.accepted.append(line)


@planted(Rule.REPLY, "the tick lost was answered, and nothing of it is on the log")
def a_reply_has_no_tick(recording: Recording) -> None:
    recording.accepted.append(recording.line("last") | {"command_id": "lost"})


@planted(Rule.REPLY, "the reply to text was BranchReadOnly (it is merged), and it ran to its end")
def a_tick_that_ran_was_refused(recording: Recording) -> None:
    recording.line("text")["reply"] = {"error": {"type": "BranchReadOnly", "message": "it is merged"}}


@planted(Rule.REPLY, "the reply to text was BudgetExceeded (tokens), and it ran")
def a_tick_that_ran_was_said_to_be_over_budget(recording: Recording) -> None:
    recording.line("text")["reply"] = {"error": {"type": "BudgetExceeded", "message": "tokens"}}


@planted(Rule.REPLY, "the reply to text said last_sequence 1, not ")
def a_reply_says_other_than_the_log(recording: Recording) -> None:
    recording.line("text")["reply"]["ok"]["last_sequence"] = 1


@pytest.mark.parametrize("plant", planted, ids=str)
async def test_a_turn_that_does_not_fit_is_found(plant: Plant, recording: Recording, tmp_path: Path) -> None:
    await assert_found(plant, recording, tmp_path)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("session_id", "other"), ("branch_id", "other"), ("mode", "verify"), ("state", {}),
        ("events_emitted", 1), ("last_sequence", 1), ("run_id", "other"), ("text", "other"),
        ("tool_results", []), ("pending_approvals", [{}]), ("reason", "completed"), ("error", "other"),
    ],
)  # fmt: skip
async def test_a_reply_that_differs_from_the_log_is_found(
    field: str, value: object, recording: Recording, tmp_path: Path
) -> None:
    recording.line("put")["reply"]["ok"][field] = value
    [violation] = (await recording.checked(tmp_path)).violations
    assert violation.rule is Rule.REPLY
    assert f"the reply to put said {field} {value!r}, not " in violation.text


async def test_a_refusal_that_says_what_the_log_says_is_right(recording: Recording, tmp_path: Path) -> None:
    failed = recording.line("broken-0")
    error = {"type": "Refused", "message": failed["reply"]["ok"]["error"]}
    failed["reply"] = {"error": error}
    recording.line("text")["reply"] = {"error": {"type": "Busy", "message": "64 ticks wait"}}
    recording.accepted.append(recording.line("put") | {"reply": {"error": error}})  # and was sent once more
    assert (await recording.checked(tmp_path)).ok


async def test_each_of_several_replies_is_compared(recording: Recording, tmp_path: Path) -> None:
    wrong = recording.copy().line("put")
    wrong["reply"]["ok"]["text"] = "other"
    recording.accepted.append(wrong)
    [violation] = (await recording.checked(tmp_path)).violations
    assert violation.rule is Rule.REPLY


async def test_a_tick_need_not_have_begun_if_that_has_a_reason(recording: Recording, tmp_path: Path) -> None:
    line = {"session_id": "poor", "branch_id": "main", "command_id": "1"}
    busy = {"error": {"type": "Busy", "message": "64 ticks wait"}}
    recording.accepted += [
        line | {"reply": busy},
        line | {"command_id": "3", "session_id": "work", "branch_id": "side"},
        line | {"command_id": "4", "session_id": "work"},
    ]
    before = recording.line("too late")
    report = await recording.checked(tmp_path)
    assert report.ok
    assert "error" in before["reply"]
    assert report.counts.refused == 5


async def test_a_tick_that_was_cancelled_need_not_have_heard_so(recording: Recording, tmp_path: Path) -> None:
    assert recording.line("dropped").pop("reply")["error"]["message"] == "cancelled before it began"
    assert (await recording.checked(tmp_path)).ok
