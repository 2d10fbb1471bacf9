"""A firehose that is not what the logs are."""

import json
from pathlib import Path

import pytest

from chaos.checker.log import Message
from chaos.checker.names import EVENTS, RELAYED
from chaos.checker.report import Rule
from tests.kit.recording import Plant, Plants, Recording, assert_found

planted = Plants()
SESSIONS = ("work", "poor", "mute")


def relayed(recording: Recording, *sessions: str) -> list[Message]:
    """Fill the firehose with these sessions' logs, all of them unless some are named."""
    names, found = recording.names, list[Message]()
    for session in sessions or SESSIONS:
        for commit in recording.log(session):
            for line in commit.data.splitlines():
                event = json.loads(line)
                subject = names.event(session, event["branch_id"], event["kind"]["type"])
                headers = {
                    "Nats-Msg-Id": event["event_id"],
                    "Vagus-Sequence": str(event["sequence"]),
                    "Vagus-Commit": str(commit.sequence),
                }
                found.append(Message(len(found) + 1, subject, headers, line))
    recording.kept[names.stream(EVENTS)] = found
    return found


def begun(recording: Recording, **how: str) -> None:
    names = recording.names
    kept = recording.kept.setdefault(names.bucket(RELAYED), [])
    how = {"at": "2026-11-23T10:00:00.000Z"} | how
    kept.append(Message(1, f"$KV.{names.stream(RELAYED)}.begun.at", {}, json.dumps(how).encode()))
    kept.append(Message(2, f"$KV.{names.stream(RELAYED)}.work", {}, b'{"commit":1,"sequence":4,"place":4}'))


async def test_a_firehose_that_has_everything_is_without_violations(
    recording: Recording, tmp_path: Path
) -> None:
    relayed(recording)
    begun(recording)
    report = await recording.checked(tmp_path)
    assert [str(violation) for violation in report.violations] == []
    assert report.counts.relayed == report.counts.events
    assert report.counts.trimmed == 0


async def test_where_no_relay_ran_nothing_is_compared(recording: Recording, tmp_path: Path) -> None:
    assert (await recording.checked(tmp_path)).counts.relayed == 0


async def test_a_firehose_that_is_behind_is_no_violation_while_it_is_at_work(
    recording: Recording, tmp_path: Path
) -> None:
    del relayed(recording)[-9:]
    assert (await recording.checked(tmp_path, unfinished=True)).ok
    assert not (await recording.checked(tmp_path)).ok


@planted(Rule.FIREHOSE, "the firehose lacks 1 events, to main 6")
def an_event_is_missing(recording: Recording) -> None:
    messages = relayed(recording)
    [one] = [n for n, there in enumerate(messages) if _is(there, "mute", "main", 6)]
    del messages[one]


@planted(Rule.FIREHOSE, "the firehose lacks 3 events, to main 3")
def the_first_events_are_missing_though_nothing_was_dropped(recording: Recording) -> None:
    del relayed(recording)[:3]


@planted(Rule.FIREHOSE, "the firehose lacks 5 events, to main")
def the_last_events_are_missing(recording: Recording) -> None:
    del relayed(recording)[-5:]


@planted(Rule.FIREHOSE, "of the firehose")
def an_event_is_another(recording: Recording) -> None:
    messages = relayed(recording)
    messages[7] = messages[7]._replace(data=messages[7].data.replace(b'"main"', b'"mine"'))


@planted(Rule.FIREHOSE, "differs from the log: subject")
def an_event_is_under_another_kind(recording: Recording) -> None:
    messages = relayed(recording)
    messages[7] = messages[7]._replace(subject=recording.names.event("work", "main", "Heartbeat"))


@planted(Rule.FIREHOSE, "differs from the log: Nats-Msg-Id")
def an_event_is_stored_under_another_id(recording: Recording) -> None:
    messages = relayed(recording)
    messages[7] = messages[7]._replace(headers={**messages[7].headers, "Nats-Msg-Id": "another"})


@planted(Rule.FIREHOSE, "out of order, or once more")
def an_event_stands_there_twice(recording: Recording) -> None:
    messages = relayed(recording)
    messages[9:9] = [messages[7]]


@planted(Rule.FIREHOSE, "the firehose has 1 messages that are not on the log")
def the_last_event_stands_there_twice(recording: Recording) -> None:
    messages = relayed(recording)
    messages.append(messages[-1]._replace(sequence=len(messages) + 1))


@planted(Rule.FIREHOSE, "the firehose has events of it, and there is no log")
def the_firehose_tells_of_nobody(recording: Recording) -> None:
    messages = relayed(recording)
    subject = recording.names.event("nobody", "main", "Heartbeat")
    messages += [messages[-1]._replace(subject=subject)] * 2


@pytest.mark.parametrize("plant", planted, ids=str)
async def test_what_the_firehose_says_otherwise_is_found(
    plant: Plant, recording: Recording, tmp_path: Path
) -> None:
    await assert_found(plant, recording, tmp_path)


async def test_two_that_have_changed_places_are_found(recording: Recording, tmp_path: Path) -> None:
    messages = relayed(recording)
    messages[7:9] = reversed(messages[7:9])
    report = await recording.checked(tmp_path)
    assert {violation.rule for violation in report.violations} == {Rule.FIREHOSE}


async def test_a_message_without_its_place_is_found(recording: Recording, tmp_path: Path) -> None:
    messages = relayed(recording)
    messages[7] = messages[7]._replace(headers={})
    report = await recording.checked(tmp_path)
    assert {violation.rule for violation in report.violations} == {Rule.FIREHOSE}


async def test_of_a_firehose_that_has_dropped_its_beginning_the_rest_is_compared_and_that_is_told(
    recording: Recording, tmp_path: Path
) -> None:
    messages = relayed(recording)
    del messages[:5]
    recording.limited.add(recording.names.stream(EVENTS))
    report = await recording.checked(tmp_path)
    assert [str(violation) for violation in report.violations] == []
    assert report.counts.trimmed == 1
    assert report.counts.relayed == report.counts.events - 5
    del messages[9]
    assert (await recording.checked(tmp_path)).by_rule == {Rule.FIREHOSE: 1}


async def test_of_a_firehose_that_began_later_the_rest_is_compared_and_that_is_told(
    recording: Recording, tmp_path: Path
) -> None:
    begun(recording, since="2026-11-23T10:00:00.000Z")
    relayed(recording, "work", "poor")
    report = await recording.checked(tmp_path)
    assert [str(violation) for violation in report.violations] == []
    assert report.counts.trimmed == 1


def _is(message: Message, session: str, branch: str, sequence: int) -> bool:
    event = json.loads(message.data)
    return (event["session_id"], event["branch_id"], event["sequence"]) == (session, branch, sequence)
