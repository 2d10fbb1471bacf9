"""Where logs are: the entries of `VAGUS_ARCHIVED`."""

from typing import Final, NamedTuple

import msgspec

from vagus.contract.archives import Placement
from vagus.contract.errors import OutcomeUnknown, Unavailable
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


class Placements:
    """All entries. All methods may also raise `Unavailable`, and what writes `OutcomeUnknown`."""

    def __init__(self, bus: Bus, subjects: Subjects) -> None:
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
