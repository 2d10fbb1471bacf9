"""What earlier releases wrote, and what later ones may write, is as today's schemas say."""

import json

import pytest

from tests.golden_logs.release import SESSIONS, UNKNOWN, Release, names, release, tomorrow
from tests.kit.described import Described

PRIVATE = ("$KV.VAGUS_MEMBERS.", "$KV.VAGUS_SNAPSHOTS.", "$KV.VAGUS_RETURNS.")
"""Between our own processes only: in no document."""


@pytest.mark.parametrize("name", names())
@pytest.mark.parametrize("later", [False, True], ids=["yesterday", "tomorrow"])
def test_all_that_was_said_passes_todays_schemas(name: str, later: bool) -> None:
    given = tomorrow(name) if later else release(name)
    described = Described()
    for said in given.messages:
        if not said.subject.startswith(PRIVATE):
            described.check(said.subject, said.headers, said.payload)
    assert {
        "Tick",
        "GateRequest",
        "Verdict",
        "ToolRequest",
        "Report",
        "ApprovalTicket",
        "Answer",
        "Reply",
    } < set(described.seen)


@pytest.mark.parametrize("name", names())
@pytest.mark.parametrize("later", [False, True], ids=["yesterday", "tomorrow"])
def test_every_event_that_was_logged_passes_todays_schemas(name: str, later: bool) -> None:
    given = tomorrow(name) if later else release(name)
    described = Described()
    for session_id in SESSIONS:
        for said in given.logs[session_id]:
            described.check(said.subject, said.headers, said.payload)
    assert described.seen["ToolCallCompleted"]
    assert described.seen["vagus.call_granted"]
    assert bool(described.seen[UNKNOWN["type"]]) == later


@pytest.mark.parametrize("name", names())
def test_no_path_of_a_machine_is_in_what_was_recorded(name: str) -> None:
    given: Release = release(name)
    texts = [said.data for said in given.messages] + [
        said.data for log in given.logs.values() for said in log
    ]
    for text in texts:
        assert "/tmp" not in text, json.loads(text)
