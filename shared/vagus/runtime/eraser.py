"""Removes what the server has of a session; see `vagus.contract.erasures`. All of it is idempotent."""

from collections.abc import Set
from typing import Final

import msgspec

from vagus.contract import streams
from vagus.contract.codec import encode_record
from vagus.contract.erasures import Erasure, told, traces
from vagus.contract.ids import Mint
from vagus.contract.subjects import Subjects
from vagus.runtime import clock
from vagus.runtime.blobs import Blobs
from vagus.runtime.bus import ApiError, Bus
from vagus.runtime.listing import subjects_held
from vagus.runtime.removal import remove

_NO_STREAM: Final = 10059
_SESSION: Final = "{session}"
"""Stands for any, where one has to be told from other wildcards."""


class _Names(msgspec.Struct):
    streams: list[str] | None = None


class _Purged(msgspec.Struct):
    purged: int


class Eraser:
    """Of all sessions. All methods may raise `Unavailable` and `OutcomeUnknown`: repeat them."""

    def __init__(self, bus: Bus, subjects: Subjects) -> None:
        self._bus = bus
        self._blobs = Blobs(bus, subjects.named(streams.BLOBS))
        self._subjects = subjects

    async def tell(self, erasure: Erasure) -> None:
        """Put the tombstone into the firehose, in the place of all events of the session.

        It comes first, and then they go: a relay that still has some in hand names the last message of the
        session that it knows of, and is refused from then on. Three servers may yet take what comes in the
        same moment: so it is told twice, which stores it once, and what stands behind it goes as well.
        """
        record = told(erasure, Mint(f"erased/{erasure.session_id}".encode()).uuid(), clock.now())
        session_id, kind = erasure.session_id, record.kind.type
        headers = {"Vagus-Sequence": str(record.sequence), "Vagus-Commit": str(erasure.events + 1)}
        stream = self._subjects.named("EVENTS")
        try:
            await self._bus.api(f"STREAM.INFO.{stream}")
        except ApiError as error:
            if error.err_code != _NO_STREAM:
                raise
            return  # no relay has ever run
        stored = await self._bus.store(
            self._subjects.event(session_id, record.branch_id, kind),
            encode_record(record),
            msg_id=record.event_id,
            headers=headers,
        )
        events = self._subjects.event(session_id)
        await self._purge(stream, events, before=stored.sequence)
        await remove(self._bus, stream, events, start=stored.sequence + 1)

    async def remove_log(self, session_id: str) -> None:
        """Remove every stream that holds the log, or was to."""
        for subject in (self._subjects.log(session_id), self._subjects.restore(session_id, "*")):
            answer = await self._bus.api("STREAM.NAMES", {"subject": subject})
            for name in msgspec.convert(answer, _Names).streams or ():
                try:
                    await self._bus.api(f"STREAM.DELETE.{name}")
                except ApiError as error:
                    if error.err_code != _NO_STREAM:
                        raise

    async def traced(self, session_ids: Set[str]) -> set[str]:
        """Those of which there is a trace, blobs apart; a request a stream, however many there are."""
        found: set[str] = set()
        for trace in traces(self._subjects, _SESSION):
            place = trace.filter.split(".").index(_SESSION)
            for subject in await self._held(trace.stream, trace.filter.replace(_SESSION, "*")):
                found |= {subject.split(".")[place]} & session_ids
        return found

    async def _held(self, stream: str, filter: str) -> list[str]:  # noqa: A002 -- the word NATS uses
        try:
            return await subjects_held(self._bus, stream, filter)
        except ApiError as error:
            if error.err_code != _NO_STREAM:
                raise
            return []

    async def sweep(self, session_id: str, *, blobs: bool = True) -> int:
        """Remove all traces, and the blobs if they are to go; returns how many messages there were."""
        found = 0
        for trace in traces(self._subjects, session_id):
            if trace.taken:
                found += await remove(self._bus, trace.stream, trace.filter)
            else:
                found += await self._purge(trace.stream, trace.filter)
        return found + (await self._blobs.remove_all(session_id) if blobs else 0)

    async def _purge(self, stream: str, filter: str, *, before: int | None = None) -> int:  # noqa: A002
        wanted: dict[str, object] = {"filter": filter}
        if before is not None:
            wanted["seq"] = before
        try:
            answer = await self._bus.api(f"STREAM.PURGE.{stream}", wanted)
        except ApiError as error:
            if error.err_code != _NO_STREAM:
                raise
            return 0
        return msgspec.convert(answer, _Purged).purged
