"""Logs whose states do not follow from their events."""

from pathlib import Path
from typing import Any

import msgspec
import pytest

from chaos.checker.report import Rule
from tests.kit.recording import Plant, Plants, Recording, Tape, assert_found
from vagus.contract.hashing import state_hash
from vagus.contract.state import AgentStateVector

planted = Plants()


def tell(tape: Tape, branch: str, **changes: Any) -> None:
    """Change the state that is told last on a branch, and the hash of its checkpoint with it."""
    told = tape.find("StateEstimated", -1, branch_id=branch)["kind"]["state"]
    told |= changes
    checkpoint = tape.find("CheckpointCreated", -1, branch_id=branch)["kind"]
    checkpoint["state_hash"] = state_hash(msgspec.convert(told, AgentStateVector))
    tape.play()


@planted(Rule.STATE, "the state told is not what led to it: progress 0.5, not 0.24")
def progress_comes_from_nowhere(recording: Recording) -> None:
    tell(recording.edit("poor"), "main", progress=0.5)


@planted(Rule.STATE, "error_streak 0, not 4")
def errors_are_forgotten(recording: Recording) -> None:
    tell(recording.edit("mute"), "main", error_streak=0)


@planted(Rule.STATE, "tokens_remaining 1500, not 0")
def a_budget_is_full_again(recording: Recording) -> None:
    tape = recording.edit("poor")
    budget = tape.find("StateEstimated", -1)["kind"]["state"]["budget"]
    tell(tape, "main", budget=budget | {"tokens_remaining": 1500})


@planted(Rule.STATE, "the state told is not what led to it")
def a_turn_does_not_begin_where_the_last_one_ended(recording: Recording) -> None:
    tape = recording.edit("poor")
    restarted = tape.find("StateEstimated", tick="spent")["kind"]
    restarted["state"] = msgspec.to_builtins(AgentStateVector())
    tell(tape, "main", **restarted["state"])


@planted(Rule.STATE, "the state told is not what led to it: progress")
def a_sleeper_wakes_without_having_made_progress(recording: Recording) -> None:
    tape = recording.edit("poor")
    begun = tape.find("StateEstimated", tick="spent")
    woken = {"type": "ModeChanged", "from": "sleep", "to": "execute", "reason": "new objective"}
    commit = tape.commit_of(begun)
    place = next(place for place, event in enumerate(commit) if event is begun)
    commit.insert(place, begun | {"event_id": "00000000-0000-4000-8000-000000000000", "kind": woken})
    tape.play()


@planted(Rule.STATE, "the checkpoint's hash is 0, the state's is")
def a_checkpoint_is_of_another_state(recording: Recording) -> None:
    tape = recording.edit("work")
    tape.find("CheckpointCreated", -1, branch_id="past")["kind"]["state_hash"] = "0"
    tape.play()


@planted(Rule.STATE, "the checkpoint is of 1, the state was told at")
def a_checkpoint_names_another_event(recording: Recording) -> None:
    tape = recording.edit("work")
    tape.find("CheckpointCreated", -1, branch_id="past")["kind"]["event_sequence"] = 1
    tape.play(renumber=False)


@planted(Rule.STATE, "the fork does not begin with its parent's state: progress 0.5, not 0.0")
def a_fork_begins_with_another_state(recording: Recording) -> None:
    tape = recording.edit("work")
    tape.find("vagus.state_set", branch_id="fresh")["kind"]["data"]["memory"] = {"vector": {"progress": 0.5}}
    tape.play()


@planted(Rule.STATE, "the state restored is not that of checkpoint")
def another_checkpoint_was_restored(recording: Recording) -> None:
    tape = recording.edit("work")
    other = tape.find("CheckpointCreated", 3)["kind"]["checkpoint_id"]
    tape.find("CheckpointRestored")["kind"]["checkpoint_id"] = other
    tape.play()


@pytest.mark.parametrize("plant", planted, ids=str)
async def test_a_state_that_does_not_follow_is_found(
    plant: Plant, recording: Recording, tmp_path: Path
) -> None:
    await assert_found(plant, recording, tmp_path)
