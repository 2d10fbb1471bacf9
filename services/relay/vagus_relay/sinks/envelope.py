"""An event's line taken apart, without its kind being read: what columns are made of."""

import re
from typing import Final

import msgspec

from vagus.contract.errors import Malformed
from vagus.contract.events.record import Actor

_DAY: Final = re.compile(r"\d{4}-\d\d-\d\d(?=T)", re.ASCII)


class Envelope(msgspec.Struct, frozen=True, kw_only=True):
    """All of a record but what its kind says."""

    event_id: str
    session_id: str
    agent_id: str = ""
    branch_id: str
    sequence: int
    timestamp: str
    actor: Actor | None = None
    causation_id: str | None = None
    correlation_id: str | None = None
    trace_id: str | None = None
    digest: str | None = None
    kind: msgspec.Raw
    """JSON, as the line has it."""

    @property
    def day(self) -> str:
        """The day (UTC) it happened on, such as `2026-11-23`; `Malformed` if its time is none."""
        found = _DAY.match(self.timestamp)
        if found is None:
            raise Malformed(f"not a time: {self.timestamp[:40]!r}")
        return found[0]


class _Kind(msgspec.Struct, frozen=True):
    type: str = "Unknown"
    event_type: str | None = None


_ENVELOPES: Final[msgspec.json.Decoder[Envelope]] = msgspec.json.Decoder(Envelope)
_KINDS: Final[msgspec.json.Decoder[_Kind]] = msgspec.json.Decoder(_Kind)


def read(line: bytes) -> Envelope:
    """Take a line apart; `Malformed` if it is no event."""
    try:
        return _ENVELOPES.decode(line)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise Malformed(f"not an event: {error}") from error


def names(kind: msgspec.Raw) -> tuple[str, str | None]:
    """The type of a kind and, of a `Custom` one, its `event_type`; `Unknown` where it names none."""
    try:
        found = _KINDS.decode(kind)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return "Unknown", None
    return found.type, found.event_type if found.type == "Custom" else None
