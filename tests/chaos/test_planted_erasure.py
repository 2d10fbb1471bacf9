"""Erased sessions of which something is left."""

import json
from base64 import urlsafe_b64encode
from pathlib import Path
from typing import Any

import pytest

from chaos.checker.log import Message
from chaos.checker.names import ARCHIVE, BLOBS, ERASED, EVENTS, TICKETS, Names
from chaos.checker.report import Rule
from tests.chaos.test_planted_firehose import begun, relayed
from tests.kit.recording import Plant, Plants, Recording, assert_found

planted = Plants()
GONE = "poor"
TIME = "2026-11-23T10:00:05.210Z"


def erase(recording: Recording, **tombstone: Any) -> Message:
    """Erase a session as Vagus would; returns what the firehose says of it."""
    names = recording.names
    recording.kept[names.stream(EVENTS)] = []
    messages = relayed(recording, "work", "mute")
    del recording.kept[names.log(GONE)]
    fact = {"type": "Custom", "event_type": "vagus.session_erased", "data": {}}
    line = {"event_id": "e", "session_id": GONE, "branch_id": "main", "sequence": 101, "kind": fact}
    told = Message(len(messages) + 1, names.event(GONE, "main", "Custom"), {}, json.dumps(line).encode())
    messages.append(told)
    value = {"session_id": GONE, "erased_at": TIME, "events": 100} | tombstone
    subject = f"$KV.{names.stream(ERASED)}.{GONE}"
    recording.kept[names.bucket(ERASED)] = [Message(1, subject, {}, json.dumps(value).encode())]
    run_ids = {line["tool_run_id"] for line in recording.ledger if line["session_id"] == GONE}
    assert run_ids
    return told


async def test_an_erased_session_is_counted_and_not_complained_of(
    recording: Recording, tmp_path: Path
) -> None:
    before = (await recording.checked(tmp_path)).counts
    erase(recording)
    report = await recording.checked(tmp_path)
    assert [str(violation) for violation in report.violations] == []
    counts = report.counts
    assert (counts.erased, counts.sessions) == (1, before.sessions - 1)
    assert counts.erased_ticks == 3  # the fourth was refused
    assert counts.accepted == before.accepted
    assert counts.relayed == counts.events


async def test_of_an_erasure_under_way_nothing_is_said_while_it_is_at_work(
    recording: Recording, tmp_path: Path
) -> None:
    log = recording.log(GONE)
    erase(recording, erased_at=None, events=0)
    recording.kept[recording.names.log(GONE)] = log
    assert (await recording.checked(tmp_path, unfinished=True)).ok
    assert (await recording.checked(tmp_path)).by_rule == {Rule.ERASED: 3}


@pytest.mark.parametrize("how", [{"since": TIME}, {"at": "2026-11-23T11:00:00.000Z"}])
async def test_what_was_erased_before_the_firehose_began_is_not_told_there(
    recording: Recording, tmp_path: Path, how: dict[str, str]
) -> None:
    erase(recording)
    begun(recording, **how)
    recording.kept[recording.names.stream(EVENTS)].pop()
    assert (await recording.checked(tmp_path)).ok


@planted(Rule.ERASED, "its erasure has not ended")
def an_erasure_broke_off(recording: Recording) -> None:
    erase(recording, erased_at=None)


@planted(Rule.ERASED, "its tombstone counts 7 events, clients were told of ")
def a_tombstone_tells_of_too_few_events(recording: Recording) -> None:
    erase(recording, events=7)


@planted(Rule.ERASED, f"S_{GONE}@2 is left")
def a_stream_of_a_restored_log_is_left(recording: Recording) -> None:
    log = recording.log(GONE)
    erase(recording)
    recording.kept[recording.names.log(GONE, 2)] = log


def left(stream: str, subject: str) -> None:
    @planted(Rule.ERASED, "." + subject.split(".", 2)[2])
    def stays(recording: Recording) -> None:
        erase(recording)
        names = Names(recording.root)
        filled = subject.replace("ROOT", recording.root.upper()).replace("root", recording.root)
        recording.kept.setdefault(stream.replace("ROOT_", names.stream("")), []).append(
            Message(1, filled, {"KV-Operation": "DEL"}, b"")
        )


BLOB = urlsafe_b64encode(f"{GONE}/f0ad".encode()).decode()
for where, what in (
    (f"ROOT_{ARCHIVE}", f"root.archive.{GONE}.c0ffee.0"),
    ("ROOT_SCHEDULES", f"root.schedule.{GONE}.nightly"),
    ("ROOT_SCHEDULES", f"root.due.nightly.{GONE}"),
    (f"KV_ROOT_{TICKETS}", f"$KV.ROOT_{TICKETS}.{GONE}.t1"),
    ("KV_ROOT_RELAYED", f"$KV.ROOT_RELAYED.{GONE}"),
    ("KV_ROOT_SUBSCRIPTIONS", f"$KV.ROOT_SUBSCRIPTIONS.billing.3.{GONE}.17"),
    (f"OBJ_ROOT_{BLOBS}", f"$O.ROOT_{BLOBS}.M.{BLOB}"),
):
    left(where, what)


@planted(Rule.ERASED, "the firehose has 0 messages of it")
def the_firehose_does_not_tell_of_it(recording: Recording) -> None:
    erase(recording)
    recording.kept[recording.names.stream(EVENTS)].pop()


@planted(Rule.ERASED, "the firehose has 2 messages of it")
def the_firehose_has_an_event_of_it(recording: Recording) -> None:
    told = erase(recording)
    recording.kept[recording.names.stream(EVENTS)].append(told._replace(sequence=told.sequence + 1))


@planted(Rule.ERASED, "not one that tells of its erasure")
def the_firehose_has_something_else_of_it(recording: Recording) -> None:
    told = erase(recording)
    recording.kept[recording.names.stream(EVENTS)][-1] = told._replace(data=b"{}")


@planted(Rule.LEDGER, "is not idempotent and ran 2 times")
def a_tool_of_it_ran_twice(recording: Recording) -> None:
    line = next(line for line in recording.ledger if line["session_id"] == GONE)
    for one in recording.ledger:
        if one["tool_run_id"] == line["tool_run_id"]:
            one["idempotent"] = False
    recording.ledger.append(line)
    erase(recording)


@pytest.mark.parametrize("plant", planted, ids=str)
async def test_what_is_left_is_found(plant: Plant, recording: Recording, tmp_path: Path) -> None:
    await assert_found(plant, recording, tmp_path)


@pytest.mark.parametrize(
    ("subject", "session"),
    [
        ("vagus.inbox.3.report.s1", "s1"),
        ("vagus.tool.default.high.s1", "s1"),
        ("vagus.event.s1.main.Custom", "s1"),
        ("vagus.dead.kernel.s1", "s1"),
        ("vagus.archive.s1.c0ffee.0", "s1"),
        ("$KV.VAGUS_CALLS.s1.run", None),
        ("$KV.VAGUS_SUBSCRIPTIONS.billing", None),
        ("$KV.VAGUS_SUBSCRIPTIONS.billing.3", None),
        ("$KV.VAGUS_MEMBERS.kernel.s1", None),
        ("$KV.VAGUS_ERASED.s1", None),
        ("$O.VAGUS_BLOBS.C.s1", None),
        ("$O.VAGUS_BLOBS.M.x", ""),
        ("other.inbox.3.report.s1", None),
    ],
)
def test_the_session_that_a_subject_names(subject: str, session: str | None) -> None:
    assert Names().named_in(subject) == session
