"""Reading an archived log from its parts, one of them in memory at a time."""

from collections.abc import AsyncGenerator

import blake3

from vagus.contract.archives import ArchivedPart, KeptCommit, Placement, unpack
from vagus.contract.errors import Malformed, NotFound
from vagus.contract.events import EventRecord
from vagus.runtime.archive.parts import Parts
from vagus.runtime.eventlog import Commit, events_from
from vagus.runtime.verifier import Verifier


class ArchiveReader:
    """One archived log.

    All methods may also raise `Unavailable`; `NotFound` where the parts are gone, as after a restore; and
    `Malformed` where they are not what they should be.
    """

    def __init__(self, parts: Parts, session_id: str, placement: Placement) -> None:
        self._parts = parts
        self._session_id = session_id
        self._placement = placement

    async def commits(self, *, after: int = 0, until: int | None = None) -> AsyncGenerator[Commit, None]:
        """As `EventLog.commits`."""
        last = self._placement.stream_sequence if until is None else until
        if after >= last:
            return
        for number in range(self._placement.part_of(after + 1), len(self._placement.starts)):
            for kept in (await self.part(number)).commits:
                if kept.stream_sequence > last:
                    return
                if kept.stream_sequence > after:
                    yield commit_of(self._session_id, kept)

    async def read(self, branch_id: str, from_sequence: int, limit: int) -> list[EventRecord]:
        """As `EventLog.read`."""
        events: list[EventRecord] = []
        number = await self._first_part(branch_id, from_sequence)
        while number < len(self._placement.starts) and len(events) < limit:
            commits = [
                commit_of(self._session_id, kept)
                for kept in (await self.part(number)).commits
                if kept.branch_id == branch_id
            ]
            events += events_from(commits, from_sequence, limit - len(events))
            number += 1
        return events

    async def verified(self) -> AsyncGenerator[ArchivedPart, None]:
        """All parts in order; nothing of them counts before this has ended.

        Raises `Malformed` then if anything is not as it was written: an event, its place, a header.
        """
        verifier, stored = Verifier(self._session_id), blake3.blake3()
        for number in range(len(self._placement.starts)):
            data = await self._data(number)
            stored.update(data)
            part = self._checked(number, data)
            for kept in part.commits:
                verifier.take(commit_of(self._session_id, kept))
            yield part
        found = verifier.result(self._placement.stream_sequence)
        digest = name_of(stored)
        if not found.ok:
            raise Malformed(f"the archive of session {self._session_id} is damaged: {found.problems[0]}")
        if digest != self._placement.digest:
            raise Malformed(
                f"the archive of session {self._session_id} is damaged: its digest is {digest}, "
                f"it was {self._placement.digest}"
            )

    async def part(self, number: int) -> ArchivedPart:
        """One part."""
        return self._checked(number, await self._data(number))

    async def _data(self, number: int) -> bytes:
        data = await self._parts.get(self._session_id, self._placement.copy or "", number)
        if data is None:
            raise NotFound(f"part {number} of the archive of session {self._session_id} is not there")
        return data

    def _checked(self, number: int, data: bytes) -> ArchivedPart:
        part, wanted = unpack(data), (self._session_id, self._placement.copy, number)
        if (part.session_id, part.copy, part.number) != wanted or not part.commits:
            raise Malformed(f"part {number} of the archive of session {self._session_id} is another")
        return part

    async def _first_part(self, branch_id: str, sequence: int) -> int:
        """The first part at whose end the branch has the event; behind the last if none has."""
        low, high = 0, len(self._placement.starts)
        while low < high:
            middle = (low + high) // 2
            if (await self.part(middle)).heads.get(branch_id, 0) >= sequence:
                high = middle
            else:
                low = middle + 1
        return low


def name_of(digest: blake3.blake3) -> str:
    """A digest as it is written."""
    return f"blake3:{digest.hexdigest()}"


def commit_of(session_id: str, kept: KeptCommit) -> Commit:
    """The commit that was kept; raises `Malformed`."""
    try:
        first, last = int(kept.headers["Vagus-First"]), int(kept.headers["Vagus-Last"])
    except (KeyError, ValueError) as error:
        raise Malformed(
            f"message {kept.stream_sequence} of the archive of {session_id} is not a commit"
        ) from error
    return Commit(
        session_id=session_id,
        branch_id=kept.branch_id,
        stream_sequence=kept.stream_sequence,
        first=first,
        last=last,
        payload=kept.payload.encode(),
        stored_at=kept.stored_at,
        traceparent=kept.headers.get("traceparent"),
    )
