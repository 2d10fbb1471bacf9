"""Moves logs to the archive and back, so that a crash anywhere leaves a log in one place, whole.

Two things decide, and nothing else. The log: archiving begins with a commit, the mark, and who would write
after a mark takes the log back first (`writable`). And the entry in `VAGUS_ARCHIVED`: it is exchanged by
compare-and-set, once to archive a log and once to restore it. A stream is removed when the entry says that it
is not the log, and no stream's name is used twice: so whoever removes one late, or twice, does no harm.
"""

import logging
import secrets
from contextlib import aclosing, suppress
from typing import Final

import anyio
from msgspec.structs import replace

from vagus.contract.archives import KeptCommit, Placement
from vagus.contract.errors import Conflict, Permanent, Refused, VagusError
from vagus.contract.subjects import Subjects
from vagus.runtime.archive.hot import HotStreams
from vagus.runtime.archive.parts import Parts, PartsWriter
from vagus.runtime.archive.placements import Found, Placements
from vagus.runtime.archive.reader import ArchiveReader, commit_of
from vagus.runtime.bus import Bus
from vagus.runtime.faults import hit

_log = logging.getLogger(__name__)

_TIDY_S: Final = 2.0


class Keeper:
    """Of all logs; kernels only. All methods may raise `Unavailable` and `OutcomeUnknown`: repeat them."""

    def __init__(self, bus: Bus, subjects: Subjects, *, replicas: int = 1) -> None:
        self._placements = Placements(bus, subjects)
        self._parts = Parts(bus, subjects)
        self._streams = HotStreams(bus, subjects, replicas)

    async def is_archived(self, session_id: str) -> bool:
        """Whether the log is in the archive now."""
        return (await self._placements.find(session_id)).placement.archived

    async def tidy(self, session_id: str) -> Placement | None:
        """Where the log is in the archive, after removing what is left of it elsewhere; None if it is not."""
        placement = (await self._placements.find(session_id)).placement
        if not placement.archived:
            return None
        await self._remove(session_id, placement, placement.generation)  # somebody may be at the later ones
        return placement

    # There ------------------------------------------------------------------------------------------------

    async def begin(self, session_id: str) -> Found:
        """Announce a copy of the log; the mark is committed next, then `archive` is given what this returns.

        Raises:
            Conflict: Somebody else moves the log.
            Refused: It is in the archive.
        """
        found = await self._placements.find(session_id)
        if found.placement.archived:
            raise Refused(f"session {session_id} is archived already")
        copying = replace(found.placement, copy=secrets.token_hex(8))
        begun = await self._placements.replace(session_id, found, copying)
        await self._forget_copy(session_id, found.placement)
        hit("kernel.archive_begun")
        return begun

    async def archive(self, session_id: str, begun: Found, head: int) -> Placement:
        """Archive the log, which ends at `head`, with the mark: copy, read the copy back, then remove it.

        Raises:
            Conflict: Somebody has taken the log back meanwhile, or has written to it: it is not archived.
            Malformed: The log is damaged, or the copy is: it is not archived.
        """
        try:
            made = await self._copy(session_id, begun.placement)
            if made.stream_sequence != head:
                raise Conflict(f"the log of {session_id} ends at {made.stream_sequence}, not {head}")
            hit("kernel.archive_copied")
            async with aclosing(self._reader(session_id, made).verified()) as parts:
                async for _ in parts:
                    pass
            hit("kernel.archive_verified")
            archived = await self._placements.replace(session_id, begun, made)
        except (Conflict, Permanent) as error:
            _log.info("session %s stays where it is: %s", session_id, error)
            await self._forget_copy(session_id, begun.placement)
            raise
        hit("kernel.archive_recorded")
        await self._remove(session_id, archived.placement, archived.placement.claimed)
        hit("kernel.archive_removed")
        return archived.placement

    async def _copy(self, session_id: str, placement: Placement) -> Placement:
        copy = placement.copy or ""
        writer, last = PartsWriter(self._parts, session_id, copy), 0
        messages = self._streams.messages(session_id, placement.generation)
        async with aclosing(messages):
            async for kept in messages:
                await writer.take(kept, commit_of(session_id, kept).last)
                last = kept.stream_sequence
        await writer.end()
        return replace(
            placement, archived=True, starts=tuple(writer.starts), stream_sequence=last, digest=writer.digest
        )

    # And back ---------------------------------------------------------------------------------------------

    async def writable(self, session_id: str) -> None:
        """Make sure that a log which ends with a mark is a stream, and that nobody archives it as it is now.

        Raises `Conflict` if somebody else moves the log.
        """
        found = await self._placements.find(session_id)
        if found.placement.archived:
            await self._restore(session_id, found)
            return
        await self._placements.replace(session_id, found, replace(found.placement, copy=None))
        if found.placement.generation:
            await self._streams.open(session_id, found.placement.generation)
        await self._forget_copy(session_id, found.placement)

    async def restore(self, session_id: str) -> None:
        """Bring the log back, if it is in the archive.

        Raises:
            Conflict: Somebody else moves the log.
            Malformed: The archive is damaged; nothing is changed.
        """
        found = await self._placements.find(session_id)
        if found.placement.archived:
            await self._restore(session_id, found)
        elif found.placement.generation:
            await self._streams.open(session_id, found.placement.generation)

    async def _restore(self, session_id: str, found: Found) -> None:
        before = found.placement
        claimed = await self._placements.replace(
            session_id, found, replace(before, claimed=before.claimed + 1)
        )
        generation = claimed.placement.claimed
        hit("kernel.restore_claimed")
        await self._remove(session_id, before, before.claimed)  # who was at it with these has lost
        try:
            await self._fill(session_id, before, generation)
        except VagusError:
            with anyio.move_on_after(_TIDY_S), suppress(VagusError):
                await self._streams.remove(session_id, generation)
            raise
        hit("kernel.restore_filled")
        restored = Placement(generation=generation, claimed=generation, copy=before.copy)
        await self._placements.replace(session_id, claimed, restored)
        hit("kernel.restore_recorded")
        await self._streams.open(session_id, generation)
        hit("kernel.restore_opened")
        await self._forget_copy(session_id, before)

    async def _fill(self, session_id: str, archived: Placement, generation: int) -> None:
        await self._streams.make(session_id, generation)
        last: KeptCommit | None = None
        async with aclosing(self._reader(session_id, archived).verified()) as parts:
            async for part in parts:
                await self._streams.fill(session_id, generation, part)
                last = part.commits[-1]
        if last is None or not await self._streams.ends_with(session_id, generation, last):
            raise Conflict(f"session {session_id} was not restored whole: try again")

    # Tidying ----------------------------------------------------------------------------------------------

    async def _remove(self, session_id: str, archived: Placement, last: int) -> None:
        """Remove the stream that the log was, and those of restores that were given up, up to `last`."""
        for generation in sorted({0, *range(archived.generation, last + 1)}):
            await self._streams.remove(session_id, generation)

    async def _forget_copy(self, session_id: str, placement: Placement) -> None:
        """Remove a copy that is not the log any more, or never became it; left where that cannot be done."""
        if placement.copy is None:
            return
        with anyio.move_on_after(_TIDY_S):
            try:
                now = (await self._placements.find(session_id)).placement
                if now.archived and now.copy == placement.copy:
                    return  # it is the log after all: the acknowledgement of that was lost
                await self._parts.remove(session_id, placement.copy)
            except VagusError as error:
                _log.info("copy %s of session %s is left: %s", placement.copy, session_id, error)

    def _reader(self, session_id: str, placement: Placement) -> ArchiveReader:
        return ArchiveReader(self._parts, session_id, placement)
