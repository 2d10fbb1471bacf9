"""Where logs are: the entries of `VAGUS_ARCHIVED`."""

import logging
from collections.abc import Callable
from typing import Final, NamedTuple

import msgspec

from vagus.contract.archives import Placement
from vagus.contract.errors import Malformed, OutcomeUnknown, Unavailable
from vagus.contract.messages import decode
from vagus.contract.streams import ARCHIVED
from vagus.contract.subjects import Subjects
from vagus.runtime import clock
from vagus.runtime.bucket import Bucket
from vagus.runtime.bus import ApiError, Bus


class Found(NamedTuple):
    """An entry, and what replaces it."""

    placement: Placement
    revision: int
    """0: there is none, and `placement` is that of a log that was never archived."""


NEVER: Final = Found(Placement(generation=0, claimed=0), 0)
_NO_STREAM: Final = 10059

_log = logging.getLogger(__name__)


class _State(msgspec.Struct):
    last_seq: int


class _Info(msgspec.Struct):
    state: _State


class Placements:
    """All entries. All methods may also raise `Unavailable`, and what writes `OutcomeUnknown`."""

    def __init__(self, bus: Bus, subjects: Subjects) -> None:
        self._bus = bus
        self._bucket = Bucket(bus, subjects.named(ARCHIVED))

    async def find(self, session_id: str) -> Found:
        """The entry of a session, from the leader: what is old would be taken for what is."""
        try:
            entry = await self._bucket.get(session_id, fresh=True)
        except ApiError as error:
            if error.err_code == _NO_STREAM:  # nothing was ever archived here
                return NEVER
            raise
        except OutcomeUnknown as error:  # a read changes nothing
            raise Unavailable(f"cannot tell where the log of {session_id} is: {error.message}") from error
        return NEVER if entry is None else Found(decode(entry.value, Placement), entry.revision)

    async def archived(self, after: int, wanted: Callable[[str], bool]) -> tuple[dict[str, int], int]:
        """Of the entries that were changed after a revision: where the archived logs end, by session.

        Only of sessions that are `wanted`. Also returns the revision to ask after next time: so asking again
        and again costs what has changed, a page of 1 000 entries a round trip, and one question otherwise.
        An entry that cannot be read is told of and left out.
        """
        last, ends = await self._last_revision(), dict[str, int]()
        if last < after:  # the bucket was made anew
            after = 0
        start = after + 1 if last > after else None
        while start is not None:
            page, start = await self._bucket.page(start)
            for entry in page:
                after = entry.revision
                if not wanted(entry.key):
                    continue
                try:
                    placement = decode(entry.value, Placement)
                except Malformed as error:
                    _log.error("cannot tell where the log of session %s is: %s", entry.key, error)
                    continue
                if placement.archived:
                    ends[entry.key] = placement.stream_sequence
        return ends, after

    async def _last_revision(self) -> int:
        """0: nothing was ever archived here."""
        try:
            answer = await self._bus.api(f"STREAM.INFO.KV_{self._bucket.name}")
        except ApiError as error:
            if error.err_code == _NO_STREAM:
                return 0
            raise
        except OutcomeUnknown as error:  # a read changes nothing
            raise Unavailable(f"cannot tell which logs are archived: {error.message}") from error
        return msgspec.convert(answer, _Info).state.last_seq

    async def replace(self, session_id: str, found: Found, placement: Placement) -> Found:
        """Exchange an entry; raises `Conflict` if it is another one by now.

        After `OutcomeUnknown` it may be either: look again.
        """
        placement = msgspec.structs.replace(placement, changed_at=clock.now())
        value = msgspec.json.encode(placement)
        if found.revision:
            revision = await self._bucket.update(session_id, value, found.revision)
        else:
            revision = await self._bucket.create(session_id, value)
        return Found(placement, revision)
