"""A commit of a session's log as messages of the firehose: pure."""

from collections.abc import Iterator

import msgspec

from vagus.contract.codec import decode_record, kind_token
from vagus.contract.subjects import Subjects
from vagus.runtime.eventlog import Commit
from vagus.runtime.telemetry import TRACEPARENT, extract
from vagus_relay.cursor import COMMIT, SEQUENCE, Cursor


class EventMessage(msgspec.Struct, frozen=True):
    """One event on its way to the firehose."""

    subject: str
    headers: dict[str, str]
    line: bytes
    """As it stands on the log, without its newline."""
    end: Cursor
    """How far the session has come with it."""


class _Kind(msgspec.Struct):
    type: str


class _Event(msgspec.Struct):
    """What is read of a line; the rest is only passed on."""

    event_id: str
    sequence: int
    kind: _Kind


_EVENT = msgspec.json.Decoder(_Event)


def messages(subjects: Subjects, commit: Commit, after: Cursor) -> Iterator[EventMessage]:
    """The events of a commit that come after a cursor. Raises `Malformed` where a line is no event."""
    trace = extract({TRACEPARENT: commit.traceparent or ""})
    lines = commit.lines()
    for count, line in enumerate(lines, 1):
        event_id, sequence, name = _read(line)
        end = Cursor(commit.stream_sequence, sequence, whole=count == len(lines))
        if not after < end:
            continue
        headers = {"Nats-Msg-Id": event_id, SEQUENCE: str(sequence), COMMIT: str(commit.stream_sequence)}
        if trace is not None:
            headers[TRACEPARENT] = trace
        subject = subjects.event(commit.session_id, commit.branch_id, kind_token(name))
        yield EventMessage(subject, headers, line, end)


def _read(line: bytes) -> tuple[str, int, str]:
    """Id, sequence and kind of an event."""
    try:
        event = _EVENT.decode(line)
    except msgspec.MsgspecError:
        record = decode_record(line)  # its kind has no type
        return record.event_id, record.sequence, record.kind.type
    return event.event_id, event.sequence, event.kind.type
