"""Which sessions were erased, or are to be: the entries of `VAGUS_ERASED`."""

from typing import Final

import msgspec

from vagus.contract.erasures import Erasure
from vagus.contract.errors import Conflict, SessionErased
from vagus.contract.messages import decode
from vagus.contract.streams import ERASED
from vagus.contract.subjects import Subjects
from vagus.runtime import clock
from vagus.runtime.bucket import Bucket
from vagus.runtime.bus import ApiError, Bus

_NO_STREAM: Final = 10059


def erased(tombstone: Erasure) -> SessionErased:
    """What is said to whoever asks for the session."""
    return SessionErased(
        f"session {tombstone.session_id} was erased by order of {tombstone.ordered_at}: "
        "its id is never used again"
    )


class Graves:
    """All entries. All methods may also raise `Unavailable`, and what writes `OutcomeUnknown`."""

    def __init__(self, bus: Bus, subjects: Subjects) -> None:
        self._bucket = Bucket(bus, subjects.named(ERASED))

    async def find(self, session_id: str) -> Erasure | None:
        """The session's tombstone, from the leader: nobody may take an id for free that is not."""
        try:
            entry = await self._bucket.get(session_id, fresh=True)
        except ApiError as error:
            if error.err_code == _NO_STREAM:  # an earlier release has made what there is
                return None
            raise
        return None if entry is None else decode(entry.value, Erasure)

    async def check(self, session_id: str) -> None:
        """Raise `SessionErased` if it was, or is being."""
        found = await self.find(session_id)
        if found is not None:
            raise erased(found)

    async def order(self, session_id: str, *, actor: str, reason: str) -> Erasure:
        """Order the erasure; one that was ordered before stands as it is."""
        wanted = Erasure(session_id=session_id, ordered_at=clock.now(), actor=actor, reason=reason)
        try:
            await self._bucket.create(session_id, msgspec.json.encode(wanted))
        except Conflict:
            return await self.find(session_id) or wanted
        return wanted

    async def note(self, erasure: Erasure) -> None:
        """Write down how far it has come."""
        await self._bucket.put(erasure.session_id, msgspec.json.encode(erasure))

    async def all(self) -> list[Erasure]:
        """Every tombstone, in the order of their last change."""
        return [decode(entry.value, Erasure) for entry in await self._bucket.entries()]
