"""Erasures: a session that is to leave no trace, or has left none but this (docs/operations.md).

The order to erase is a value in the bucket `ERASED`, and stays there for ever as the tombstone: the session's
id is never used again. Whoever keeps copies of events elsewhere watches that bucket, removes what it has of
the sessions named there and takes nothing of them any more.
"""

import msgspec

from vagus.contract import streams
from vagus.contract.events import Actor, ActorType, Custom, EventRecord
from vagus.contract.extensions import SessionErased as Told
from vagus.contract.ids import MAIN, Id
from vagus.contract.messages import Role
from vagus.contract.subjects import Subjects


class Erasure(msgspec.Struct, frozen=True, kw_only=True):
    """A tombstone: key `<session>` of the bucket `ERASED`. Also the reply to EraseSession."""

    session_id: Id
    ordered_at: str
    actor: str
    """Who ordered it."""
    reason: str
    erased_at: str | None = None
    """None: it is under way."""
    events: int = 0
    """That the session had, all branches together."""
    digest: str | None = None
    """Of the last event of `main`: what shows, with a copy of the log, that this copy was the session's."""


class Trace(msgspec.Struct, frozen=True):
    """Where something of a session may be: messages of a stream on subjects that name it."""

    stream: str
    filter: str
    taken: bool = False
    """The stream is a work queue: what is removed is removed by itself (`vagus.runtime.removal`)."""


def traces(subjects: Subjects, session_id: str) -> tuple[Trace, ...]:
    """All but its log, its blobs, its events in the firehose, and the commands that wait for it.

    The claims of its calls are none: they say nothing but ids, leave with their age, and until then keep a
    request that somebody still has in hand from running a second time.
    """

    def queued(name: str, filter: str) -> Trace:  # noqa: A002 -- the word NATS uses
        return Trace(subjects.named(name), filter, taken=True)

    def stored(name: str, filter: str) -> Trace:  # noqa: A002
        return Trace(subjects.named(name), filter)

    def kept(bucket: str, key: str = "", before: str = "") -> Trace:
        return Trace(f"KV_{subjects.named(bucket)}", subjects.key(bucket, before + session_id + key))

    return (
        *(
            queued("INBOX", subjects.inbox_partition("*", role, session_id))
            for role in Role
            if role is not Role.COMMAND
        ),
        queued("GATE", subjects.gate(session_id)),
        queued("TOOLS", subjects.tool(session=session_id)),
        queued("APPROVALS", subjects.approval(session_id)),
        queued("APPROVALS", subjects.answer(session_id)),
        queued("SCHEDULES", subjects.schedule(session_id)),
        queued("SCHEDULES", subjects.due(session_id)),
        stored("DEAD", subjects.dead(f"*.{session_id}")),
        kept(streams.SESSIONS),
        kept(streams.POLICIES),
        kept(streams.SNAPSHOTS),
        kept(streams.TICKETS, ".*"),
        kept(streams.RELAYED),
        kept(streams.SUBSCRIPTIONS, ".*", before="*.*."),
        stored("ARCHIVE", subjects.archive(session_id)),
        kept(streams.ARCHIVED),
    )


def told(erasure: Erasure, event_id: str, now: str) -> EventRecord:
    """What the firehose has in place of the session's events; on no log, and so without a digest."""
    fact = Told(ordered_at=erasure.ordered_at, actor=erasure.actor, reason=erasure.reason)
    return EventRecord(
        event_id=event_id,
        session_id=erasure.session_id,
        branch_id=MAIN,
        sequence=erasure.events + 1,
        timestamp=now,
        actor=Actor(type=ActorType.SYSTEM, component="vagus-kernel"),
        kind=fact.event(),
    )


def is_tombstone(record: EventRecord) -> bool:
    """Whether an event of the firehose tells that its session was erased."""
    return isinstance(record.kind, Custom) and record.kind.event_type == Told.event_type
