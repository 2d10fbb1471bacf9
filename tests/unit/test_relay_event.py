"""A commit becomes messages of the firehose."""

import msgspec
import pytest

from tests.kit.events import records
from vagus.contract.codec import seal
from vagus.contract.errors import Malformed
from vagus.contract.events import Custom, EventKind, UserMessage
from vagus.contract.events.base import Unknown
from vagus.contract.subjects import Subjects
from vagus.runtime.eventlog import Commit
from vagus_relay.cursor import Cursor
from vagus_relay.event import messages

SUBJECTS = Subjects()
TRACE = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


def commit(*kinds: EventKind, first: int = 1, traceparent: str | None = None) -> Commit:
    sealed = seal(records(*kinds, first=first), "")
    return Commit(
        session_id="s",
        branch_id="b",
        stream_sequence=7,
        first=first,
        last=first + len(kinds) - 1,
        payload=sealed.payload,
        stored_at="2026-11-23T10:00:00.000Z",
        traceparent=traceparent,
    )


def said(text: str) -> UserMessage:
    return UserMessage(content=text)


def test_every_line_is_a_message_on_the_subject_of_its_kind() -> None:
    told = commit(said("one"), Custom(event_type="mine", data={"a": 1}), first=4)
    first, second = messages(SUBJECTS, told, Cursor())
    assert [first.subject, second.subject] == ["vagus.event.s.b.UserMessage", "vagus.event.s.b.Custom"]
    assert [first.line, second.line] == told.lines()
    assert first.headers == {
        "Nats-Msg-Id": "00000000-0000-4000-8000-000000000004",
        "Vagus-Sequence": "4",
        "Vagus-Commit": "7",
    }


def test_only_the_last_event_ends_its_commit() -> None:
    ends = [message.end for message in messages(SUBJECTS, commit(said("one"), said("two")), Cursor())]
    assert ends == [Cursor(7, 1, whole=False), Cursor(7, 2, whole=True)]


@pytest.mark.parametrize(
    ("after", "left"), [(Cursor(6, 9), 3), (Cursor(7, 2, whole=False), 1), (Cursor(7, 3), 0)]
)
def test_what_is_there_already_is_left_out(after: Cursor, left: int) -> None:
    told = commit(said("one"), said("two"), said("three"))
    assert len(list(messages(SUBJECTS, told, after))) == left


@pytest.mark.parametrize(
    ("traceparent", "headers"), [(TRACE, {"traceparent": TRACE}), ("no trace", {}), (None, {})]
)
def test_the_trace_of_a_commit_goes_along(traceparent: str | None, headers: dict[str, str]) -> None:
    (message,) = messages(SUBJECTS, commit(said("one"), traceparent=traceparent), Cursor())
    assert {name: value for name, value in message.headers.items() if name == "traceparent"} == headers


@pytest.mark.parametrize(
    ("kind", "token"),
    [
        (b'{"type":"FromTomorrow"}', "FromTomorrow"),
        (b'{"type":"a.b > *"}', "Unknown"),
        (b"{}", "Unknown"),
        (b"3", "Unknown"),
    ],
)
def test_a_kind_that_nobody_knows_has_a_subject(kind: bytes, token: str) -> None:
    (message,) = messages(SUBJECTS, commit(Unknown(kind)), Cursor())
    assert message.subject == f"vagus.event.s.b.{token}"
    assert kind in message.line


def test_a_line_that_is_no_event_is_told_of() -> None:
    broken = msgspec.structs.replace(commit(said("one")), payload=b"{}\n")
    with pytest.raises(Malformed):
        list(messages(SUBJECTS, broken, Cursor()))


@pytest.mark.parametrize(
    ("cursor", "following"), [(Cursor(), 1), (Cursor(4, 9), 5), (Cursor(4, 9, whole=False), 4)]
)
def test_a_commit_that_may_not_be_whole_is_read_again(cursor: Cursor, following: int) -> None:
    assert cursor.next == following
