"""The event record: one line of a log (fact sheet 1.3)."""

from typing import Final

import msgspec

from vagus.contract.events.base import U64
from vagus.contract.events.catalogue import EventKind
from vagus.contract.events.vocabulary import ActorType


class Actor(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Who caused an event."""

    type: ActorType
    component: str | None = None


class Schema(msgspec.Struct, frozen=True, kw_only=True):
    """Which schema a record follows."""

    name: str = "aios-protocol"
    version: str = "0.1.0"


ORIGINAL: Final = Actor(type=ActorType.SYSTEM, component="arcan-daemon")
"""The actor of a record that names none: the original's own."""

_SCHEMA: Final = Schema()


# Defaults come from factories so that they are written: only the fields that default to None may be absent.
def _no_agent() -> str:
    return ""


def _original() -> Actor:
    return ORIGINAL


def _schema() -> Schema:
    return _SCHEMA


class EventRecord(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One event on one branch. The order of the fields is the order on the wire."""

    event_id: str
    session_id: str
    agent_id: str = msgspec.field(default_factory=_no_agent)
    """One per session; empty if the record names none."""
    branch_id: str
    sequence: U64
    """Counts from 1 on each branch, without gaps."""
    timestamp: str
    """RFC 3339, UTC, ends in Z."""
    actor: Actor = msgspec.field(default_factory=_original)
    schema: Schema = msgspec.field(default_factory=_schema)
    causation_id: str | None = None
    """The event or command that led here."""
    correlation_id: str | None = None
    """The command id of the tick."""
    trace_id: str | None = None
    span_id: str | None = None
    digest: str | None = None
    """`blake3:` + hex over the digest before and this line; see `vagus.contract.codec`."""
    kind: EventKind
