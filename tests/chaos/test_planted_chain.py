"""Logs with a line or a commit too few, too many, or not as it was."""

import random
from pathlib import Path

import pytest

from chaos.checker.log import Message
from chaos.checker.report import Rule
from tests.kit.recording import Plant, Plants, Recording, again, assert_found

planted = Plants()


def replaced(log: list[Message], old: bytes, new: bytes) -> None:
    """Change the one commit that holds `old`."""
    place = next(place for place, message in enumerate(log) if old in message.data)
    log[place] = log[place]._replace(data=log[place].data.replace(old, new))


def headed(log: list[Message], place: int, **headers: str) -> None:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    log[place] = log[place]._replace(headers={**log[place].headers, **named})


@planted(Rule.STREAM, "commit 5 follows 3")
def a_message_was_removed(recording: Recording) -> None:
    log = recording.edit("poor").play()
    log[3:] = [message._replace(sequence=message.sequence + 1) for message in log[3:]]


@planted(Rule.STREAM, "commit 2 follows 0")
def the_first_message_was_removed(recording: Recording) -> None:
    log = recording.edit("poor").play()
    log[:] = [message._replace(sequence=message.sequence + 1) for message in log]


@planted(Rule.COMMIT, "not made of lines")
def the_last_newline_is_missing(recording: Recording) -> None:
    log = recording.log("work")
    log[4] = log[4]._replace(data=log[4].data.rstrip(b"\n"))


@planted(Rule.COMMIT, "not made of lines")
def a_commit_is_empty(recording: Recording) -> None:
    log = recording.log("poor")
    log.append(log[-1]._replace(sequence=len(log) + 1, data=b""))


@planted(Rule.EVENT, "holds a line that is no event")
def a_line_is_no_event(recording: Recording) -> None:
    log = recording.log("work")
    log[4] = log[4]._replace(data=log[4].data + b'{"event_id":"x"}\n')


@planted(Rule.COMMIT, "has Vagus-First '2', its lines say '1'")
def the_first_sequence_of_the_headers_is_another(recording: Recording) -> None:
    headed(recording.log("work"), 0, Vagus_First="2")


@planted(Rule.COMMIT, "has Vagus-Last '5', its lines say '4'")
def the_last_sequence_of_the_headers_is_another(recording: Recording) -> None:
    headed(recording.log("work"), 0, Vagus_Last="5")


@planted(Rule.COMMIT, "has Vagus-Kinds")
def the_kinds_of_the_headers_are_others(recording: Recording) -> None:
    headed(recording.log("work"), 0, Vagus_Kinds="SessionCreated,Custom,PhaseEntered")


@planted(Rule.COMMIT, "has Nats-Msg-Id None")
def a_commit_has_no_message_id(recording: Recording) -> None:
    log = recording.log("work")
    log[2] = log[2]._replace(headers={k: v for k, v in log[2].headers.items() if k != "Nats-Msg-Id"})


@planted(Rule.COMMIT, "has the subject")
def a_commit_stands_under_the_subject_of_another_branch(recording: Recording) -> None:
    log = recording.log("work")
    log[2] = log[2]._replace(subject=recording.names.commit("work", "other"))


@planted(Rule.COMMIT, "events of several branches")
def a_commit_is_of_two_branches(recording: Recording) -> None:
    tape = recording.edit("work")
    tape.find("Heartbeat")["branch_id"] = "past"
    tape.play()


@planted(Rule.SEQUENCE, "should stand")
def an_event_is_missing(recording: Recording) -> None:
    tape = recording.edit("work")
    tape.drop(tape.find("ExternalSignal"))
    tape.play(renumber=False)


@planted(Rule.SEQUENCE, "the branch is elsewhere")
def a_commit_was_stored_twice(recording: Recording) -> None:
    log = recording.log("work")
    log.append(log[7]._replace(sequence=len(log) + 1))


@planted(Rule.SEQUENCE, "the branch is elsewhere")
def two_events_have_one_number(recording: Recording) -> None:
    tape = recording.edit("work")
    signal = tape.find("ExternalSignal")
    tape.after(signal, again(signal))
    tape.play(renumber=False)


@planted(Rule.SEQUENCE, "the branch is elsewhere")
def a_number_is_beyond_belief(recording: Recording) -> None:
    tape = recording.edit("poor")
    closing = again(tape.find("PhaseEntered", -1)) | {"sequence": 10**12}
    tape.commits.append([closing])
    tape.play(renumber=False)


@planted(Rule.DIGEST, "the line is not as it was written")
def a_byte_was_flipped(recording: Recording) -> None:
    replaced(recording.log("work"), b'"sha":"1f2e"', b'"sha":"1f2f"')


@planted(Rule.DIGEST, "the line is not as it was written: digest ''")
def a_line_has_no_digest(recording: Recording) -> None:
    log = recording.log("work")
    digest = recording.edit("work").find("ExternalSignal")["digest"]
    replaced(log, b',"digest":"%b"' % digest.encode(), b"")


@planted(Rule.DIGEST, "work/past 1")
def a_fork_is_chained_to_another_event(recording: Recording) -> None:
    tape = recording.edit("work")
    tape.play(forks={"past": tape.find("ExternalSignal")["digest"]})


@planted(Rule.DIGEST, "work/fresh 1")
def a_fork_at_nothing_is_chained_to_something(recording: Recording) -> None:
    tape = recording.edit("work")
    tape.play(forks={"fresh": tape.find("ExternalSignal")["digest"]})


@planted(Rule.FORK, "the branch begins with ExternalSignal")
def a_session_was_never_created(recording: Recording) -> None:
    tape = recording.edit("poor")
    tape.find("SessionCreated")["kind"] = {"type": "ExternalSignal", "signal_type": "hello", "data": None}
    tape.play()


@planted(Rule.FORK, "the branch begins with Custom")
def a_branch_was_never_created(recording: Recording) -> None:
    tape = recording.edit("work")
    tape.drop(tape.find("BranchCreated", branch_id="fresh"))
    tape.play()


@planted(Rule.FORK, "it creates stale")
def a_branch_was_created_under_another_name(recording: Recording) -> None:
    tape = recording.edit("work")
    tape.find("BranchCreated", branch_id="fresh")["kind"]["new_branch_id"] = "stale"
    tape.play()


@planted(Rule.FORK, "it forks at 9000 of main")
def a_fork_is_beyond_its_parent(recording: Recording) -> None:
    tape = recording.edit("work")
    tape.find("BranchCreated", branch_id="fresh")["kind"]["fork_point_seq"] = 9000
    tape.play()


@planted(Rule.FORK, "of nowhere, which is at 0")
def a_fork_has_no_parent(recording: Recording) -> None:
    tape = recording.edit("work")
    tape.find("BranchCreated", branch_id="fresh")["kind"] |= {"from_branch": "nowhere", "fork_point_seq": 1}
    tape.play()


@planted(Rule.EVENT, "it says it belongs to session other")
def an_event_is_of_another_session(recording: Recording) -> None:
    tape = recording.edit("work")
    tape.find("ExternalSignal")["session_id"] = "other"
    tape.play()


@planted(Rule.EVENT, "it is of agent other")
def an_event_is_of_another_agent(recording: Recording) -> None:
    tape = recording.edit("work")
    tape.find("ExternalSignal")["agent_id"] = "other"
    tape.play()


@planted(Rule.EVENT, "was used before")
def an_event_id_is_that_of_another_session(recording: Recording) -> None:
    used = recording.edit("mute").find("Heartbeat")["event_id"]
    tape = recording.edit("work")
    tape.find("ExternalSignal")["event_id"] = used
    tape.play()


@planted(Rule.EVENT, "it is no RunFinished")
def an_event_lacks_what_its_kind_has(recording: Recording) -> None:
    tape = recording.edit("work")
    del tape.find("RunFinished")["kind"]["reason"]
    tape.play()


@planted(Rule.CLOSED, "ExternalSignal is written after SessionClosed")
def something_is_written_after_the_end(recording: Recording) -> None:
    tape = recording.edit("work")
    tape.commits.append([again(tape.find("ExternalSignal"))])
    tape.play()


@planted(Rule.CLOSED, "SessionResumed is written after SessionClosed")
def a_closed_session_is_taken_over(recording: Recording) -> None:
    tape = recording.edit("work")
    takeover = again(tape.find("ExternalSignal")) | {"kind": {"type": "SessionResumed"}, "branch_id": "early"}
    tape.commits.append([takeover])
    tape.play()


@planted(Rule.MERGED, "ExternalSignal is written after the merge into main")
def something_is_written_to_a_merged_branch(recording: Recording) -> None:
    tape = recording.edit("work")
    place = tape.commits.index(tape.commit_of(tape.find("BranchMerged")))
    tape.commits.insert(place + 1, [again(tape.find("ExternalSignal")) | {"branch_id": "side"}])
    tape.play()


@planted(Rule.MERGED, "side is merged at 7, and stands at")
def a_branch_is_merged_in_part(recording: Recording) -> None:
    tape = recording.edit("work")
    tape.find("BranchMerged")["kind"]["merge_seq"] = 7
    tape.play(renumber=False)


@pytest.mark.parametrize("plant", planted, ids=str)
async def test_what_was_done_to_a_log_is_found(plant: Plant, recording: Recording, tmp_path: Path) -> None:
    await assert_found(plant, recording, tmp_path)


async def test_any_flipped_bit_is_found(recording: Recording, tmp_path: Path) -> None:
    """And nothing that it makes of a line is more than the checker can read."""
    for session in ("work", "mute"):
        del recording.kept[recording.names.log(session)]
    recording.kept[recording.names.bucket("TICKETS")] = []
    recording.accepted = []
    assert (await recording.checked(tmp_path, ledger=None)).ok
    log, chance = recording.log("poor"), random.Random(7)
    for _ in range(150):
        place = chance.randrange(len(log))
        whole = log[place]
        data = bytearray(whole.data)
        data[chance.randrange(len(data))] ^= 1 << chance.randrange(8)
        log[place] = whole._replace(data=bytes(data))
        assert not (await recording.checked(tmp_path, ledger=None)).ok
        log[place] = whole
