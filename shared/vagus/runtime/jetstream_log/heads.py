"""The ends of all session logs that are streams now, by as few questions as possible."""

from collections.abc import Mapping
from typing import Final

import msgspec

from vagus.contract.errors import OutcomeUnknown, Unavailable
from vagus.contract.subjects import Subjects
from vagus.runtime.bus import Bus
from vagus.runtime.listing import listed

PAGE_S: Final = 10.0
"""Of one page: on a cluster the server asks all others."""


class Head(msgspec.Struct, frozen=True):
    """The last commit of a log."""

    sequence: int
    """0: there is none."""
    stored_at: str
    """RFC 3339, UTC, by the server's clock."""


class _Config(msgspec.Struct):
    name: str


class _State(msgspec.Struct):
    last_seq: int
    last_ts: str


class _Stream(msgspec.Struct):
    config: _Config
    state: _State


class _Page(msgspec.Struct):
    streams: list[_Stream] = []


async def heads(bus: Bus, subjects: Subjects) -> dict[str, Head]:
    """The end of every session's log; 256 of them a round trip.

    Not one moment's picture. A log that cannot be asked for now (on a cluster: without a leader) is left out.

    Raises:
        Unavailable: The server did not answer.
    """
    found: dict[str, Head] = {}

    async def ask(offset: int) -> Mapping[str, object]:
        request = {"subject": subjects.all_logs(), "offset": offset}
        try:
            return await bus.api("STREAM.LIST", request, timeout_s=PAGE_S)
        except OutcomeUnknown as error:
            raise Unavailable(f"the session logs cannot be listed: {error.message}") from error

    for stream in await listed(ask, lambda answer: msgspec.convert(answer, _Page).streams):
        session_id = subjects.session_of_stream(stream.config.name)
        head = Head(stream.state.last_seq, stream.state.last_ts)
        if session_id not in found or found[session_id].sequence < head.sequence:
            found[session_id] = head
    return found
