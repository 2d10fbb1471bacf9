"""Whose a session is: read from the registry, or from its log where that does not know it yet."""

from collections import OrderedDict
from contextlib import aclosing
from typing import Final

import msgspec

from vagus.contract import streams
from vagus.contract.errors import Malformed, SessionNotFound
from vagus.contract.events import Custom
from vagus.contract.messages import decode
from vagus.contract.subjects import Subjects
from vagus.runtime.bucket import Bucket
from vagus.runtime.bus import Bus
from vagus.runtime.jetstream_log import JetStreamLog

REMEMBERED: Final = 10_000
"""Sessions; an owner never changes."""


class _Manifest(msgspec.Struct):
    owner: str


class _Entry(msgspec.Struct):
    """What is read of a session's summary."""

    manifest: _Manifest


class Owners:
    """The owners of sessions."""

    def __init__(self, bus: Bus, subjects: Subjects) -> None:
        self._sessions = Bucket(bus, subjects.named(streams.SESSIONS))
        self._log = JetStreamLog(bus, subjects)
        self._known: OrderedDict[str, str] = OrderedDict()

    async def of(self, session: str) -> str | None:
        """The owner of a session; None if there is no such session. Raises `Unavailable`."""
        known = self._known.get(session)
        if known is not None:
            self._known.move_to_end(session)
            return known
        owner = await self._registered(session) or await self._logged(session)
        if owner is not None:
            self._known[session] = owner
            if len(self._known) > REMEMBERED:
                self._known.popitem(last=False)
        return owner

    async def _registered(self, session: str) -> str | None:
        entry = await self._sessions.get(session)
        try:
            return None if entry is None else decode(entry.value, _Entry).manifest.owner
        except Malformed:
            return None

    async def _logged(self, session: str) -> str | None:
        """Of a session so young that only its log tells."""
        try:
            async with aclosing(self._log.commits(session, until=1)) as commits:
                async for commit in commits:
                    for record in commit.records():
                        match record.kind:
                            case Custom(
                                event_type="vagus.manifest_set", data={"manifest": {"owner": str(owner)}}
                            ):
                                return owner
                            case _:
                                continue
        except (Malformed, SessionNotFound):
            return None
        return None
