"""Tools that say otherwise than the log, queues that are not empty, letters that are dead."""

from pathlib import Path
from typing import Any

import pytest

from chaos.checker.log import CannotCheck, Message
from chaos.checker.names import QUEUES
from chaos.checker.report import Rule
from tests.kit.recording import Plant, Plants, Recording, assert_found

planted = Plants()


def lines(recording: Recording, tick: str, session: str = "work") -> list[dict[str, Any]]:
    """What the tool told of a tick's call."""
    run_id = run_of(recording, tick, session)
    return [line for line in recording.ledger if line["tool_run_id"] == run_id]


def run_of(recording: Recording, tick: str, session: str = "work") -> str:
    run_id: str = recording.edit(session).find("ToolCallRequested", tick=tick)["event_id"]
    return run_id


@planted(Rule.LEDGER, "is not idempotent and ran 2 times")
def a_tool_ran_twice_that_must_not(recording: Recording) -> None:
    recording.ledger.append(lines(recording, "pay")[0])


@planted(Rule.LEDGER, "is not idempotent and ran 2 times")
def a_cancelled_tool_ran_twice(recording: Recording) -> None:
    recording.ledger.append(lines(recording, "crawl")[0])


@planted(Rule.LEDGER, "did not run, and the log says that it ended: ok")
def a_tool_did_not_run_that_is_said_to_have_run(recording: Recording) -> None:
    for line in lines(recording, "put"):
        recording.ledger.remove(line)


@planted(Rule.LEDGER, "began and did not end, and the log says that it ended: error")
def a_tool_did_not_end_that_is_said_to_have_failed(recording: Recording) -> None:
    recording.ledger.remove(lines(recording, "fail")[1])


@planted(Rule.LEDGER, "ran for a call of chaos.pay")
def another_tool_ran(recording: Recording) -> None:
    for line in lines(recording, "pay"):
        line["tool"] = "chaos.put"


@planted(Rule.GRANT, "ran, and was not granted")
def a_tool_ran_that_people_had_declined(recording: Recording) -> None:
    declined = {"tool_run_id": run_of(recording, "declined")}
    recording.ledger += [line | declined for line in lines(recording, "pay")]


@planted(Rule.GRANT, "ran, and was not granted")
def a_tool_ran_by_itself(recording: Recording) -> None:
    lines(recording, "pay")[0]["grant"] = False


@planted(Rule.GRANT, "chaos.pay ran as nobody's, and no log knows of a call of that id")
def a_tool_ran_for_nobody(recording: Recording) -> None:
    recording.ledger.append(lines(recording, "pay")[0] | {"tool_run_id": "nobody's"})


def stuck(queue: str) -> None:
    @planted(Rule.QUEUE, f"_{queue} still holds 1 messages after 0 s")
    def left(recording: Recording) -> None:
        recording.kept[recording.names.stream(queue)].append(Message(7, "left", {}, b""))


for name in QUEUES:
    stuck(name)


LETTER = Message(
    1,
    "dead.kernel.work",
    {"Vagus-Reason": "given up after 5 deliveries", "Vagus-Subject": "inbox", "Vagus-Deliveries": "5"},
    b"{}",
)


@planted(Rule.DEAD, "given up after 5 deliveries (from inbox, delivered 5 times)")
def a_letter_is_dead(recording: Recording) -> None:
    recording.kept[recording.names.stream("DEAD")].append(LETTER)


@pytest.mark.parametrize("plant", planted, ids=str)
async def test_what_others_say_otherwise_is_found(plant: Plant, recording: Recording, tmp_path: Path) -> None:
    await assert_found(plant, recording, tmp_path)


async def test_an_idempotent_tool_may_run_again_and_break_off(recording: Recording, tmp_path: Path) -> None:
    recording.ledger.insert(0, lines(recording, "put")[0])
    assert (await recording.checked(tmp_path)).ok


async def test_an_expected_dead_letter_is_no_violation(recording: Recording, tmp_path: Path) -> None:
    recording.kept[recording.names.stream("DEAD")].append(LETTER)
    report = await recording.checked(tmp_path, expected_dead=("^nothing", "given up after"))
    assert report.ok
    assert report.counts.dead_letters == 1


async def test_what_has_not_ended_yet_is_no_violation_while_it_is_at_work(
    recording: Recording, tmp_path: Path
) -> None:
    """Cut the log anywhere: it never says more than that something is missing at its end."""
    whole = recording.log("work")
    recording.kept[recording.names.stream("INBOX")].append(Message(7, "at work", {}, b""))
    tickets = recording.kept.pop(recording.names.bucket("TICKETS"))
    for end in range(1, len(whole)):
        so_far = recording.copy()
        so_far.log("work")[end:] = []
        asked = {line for message in so_far.log("work") for line in message.data.splitlines()}
        so_far.kept[so_far.names.bucket("TICKETS")] = [
            ticket
            for ticket in tickets
            if any(ticket.subject.rpartition(".")[2].encode() in line for line in asked)
        ]
        granted = b"".join(line for line in asked if b"vagus.call_granted" in line)
        so_far.ledger = [line for line in so_far.ledger if line["tool_run_id"].encode() in granted]
        so_far.accepted = [line for line in so_far.accepted if "ok" not in line["reply"]]
        report = await so_far.checked(tmp_path, unfinished=True)
        assert [str(violation) for violation in report.violations] == []


@pytest.mark.parametrize("kind", ["accepted", "ledger"])
@pytest.mark.parametrize("text", ["no json", '{"tool": 1}', '{"session_id": "s"}', "\n"])
async def test_a_file_that_cannot_be_read_is_told(
    kind: str, text: str, recording: Recording, tmp_path: Path
) -> None:
    file = tmp_path / "given"
    file.write_text(text)
    with pytest.raises(CannotCheck, match="given:1: "):
        await recording.checked(tmp_path, **{kind: file})


@pytest.mark.parametrize("kind", ["accepted", "ledger"])
async def test_a_file_that_is_not_there_is_told(kind: str, recording: Recording, tmp_path: Path) -> None:
    with pytest.raises(CannotCheck, match=r"cannot read .*none: No such file"):
        await recording.checked(tmp_path, **{kind: tmp_path / "none"})


async def test_a_bucket_that_cannot_be_read_is_told(recording: Recording, tmp_path: Path) -> None:
    kept = recording.kept[recording.names.bucket("TICKETS")]
    kept[0] = kept[0]._replace(data=b"{}")
    with pytest.raises(CannotCheck, match="cannot read work"):
        await recording.checked(tmp_path)


async def test_another_root_is_not_taken_for_an_empty_one(recording: Recording, tmp_path: Path) -> None:
    with pytest.raises(CannotCheck, match="no Vagus of the root other is here: there is no OTHER_INBOX"):
        await recording.checked(tmp_path, root="other")
