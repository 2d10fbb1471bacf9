"""The archivist: has sessions archived that nobody has spoken to for long. One kernel at a time does it.

It asks by the same command as people do, so that the kernel which owns the session moves its log.
"""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Final

import anyio
import msgspec

from vagus.contract.clock import SECOND_NS, parse
from vagus.contract.commands import ArchiveSession, Archiving
from vagus.contract.errors import Malformed, VagusError
from vagus.contract.messages import Role, decode
from vagus.contract.subjects import Subjects
from vagus.runtime import clock
from vagus.runtime.beside import beside
from vagus.runtime.bucket import Bucket
from vagus.runtime.bus import Bus
from vagus_kernel.ports import Ports

SCAN_S: Final = 10.0
"""How often a page of the registry is looked at, at the longest."""
ASKED: Final = 32
"""Sessions at a time that are asked to move: each is loaded for that."""


class _Summary(msgspec.Struct):
    pending_approvals: int
    updated_at: str
    stream_sequence: int
    archived: bool = False


class Archivist:
    """Of one kernel; `chosen` says whether it is the one that does it now."""

    def __init__(
        self, bus: Bus, subjects: Subjects, sessions: Bucket, *, after_s: float, chosen: Callable[[], bool]
    ) -> None:
        self._bus = bus
        self._subjects = subjects
        self._sessions = sessions
        self._after_s = after_s
        self._chosen = chosen
        self._next = 1

    async def run(self) -> None:
        """Go round the registry, a page at a time, for ever."""
        while True:
            await anyio.sleep(min(SCAN_S, self._after_s / 2))
            if self._chosen():
                try:
                    await self.scan()
                except VagusError:  # the next round asks again
                    continue

    async def scan(self) -> None:
        """Look at the next page.

        Entries stand in the order of their last change: behind one that is too young none is old enough, and
        the round begins anew.

        Raises:
            Unavailable, OutcomeUnknown, Busy: It could not be read, or not everybody could be asked.
        """
        latest = clock.now_ns() - round(self._after_s * SECOND_NS)
        page, following = await self._sessions.page(self._next)
        asked = 0
        for entry in page:
            try:
                summary = decode(entry.value, _Summary)
            except Malformed:  # a later release's, or nobody's: it stays
                continue
            if parse(summary.updated_at) > latest:
                following = None
                break
            if not summary.archived and not summary.pending_approvals:
                await self._ask(entry.key, summary.stream_sequence)
                asked += 1
                if asked == ASKED:
                    following = entry.revision + 1
                    break
        self._next = following or 1

    async def _ask(self, session_id: str, stream_sequence: int) -> None:
        """Ask once: a repetition within two minutes is not stored, and later only that state is archived."""
        command = ArchiveSession(
            command_id=f"archive-{session_id}-{stream_sequence}",
            session_id=session_id,
            actor="archivist",
            sent_at=clock.now(),
            archive_session=Archiving(stream_sequence=stream_sequence),
        )
        await self._bus.store(
            self._subjects.inbox(Role.COMMAND, session_id),
            msgspec.json.encode(command),
            msg_id=command.command_id,
        )


@asynccontextmanager
async def archiving(ports: Ports, chosen: Callable[[], bool]) -> AsyncIterator[None]:
    """Archive what rests while the block lasts, if the settings say so."""
    after_s = ports.settings.archive_after
    if not after_s:
        yield
        return
    archivist = Archivist(ports.bus, ports.subjects, ports.sessions, after_s=after_s, chosen=chosen)
    async with beside(archivist.run):
        yield
