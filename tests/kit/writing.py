"""Writing session logs without a kernel: as many commits as one likes, at once."""

from collections import defaultdict
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import anyio
import msgspec

from tests.kit.events import records
from vagus.contract.codec import seal
from vagus.contract.errors import OutcomeUnknown, Transient
from vagus.contract.events import EventKind, UserMessage
from vagus.contract.subjects import Subjects
from vagus.runtime.bus import Bus
from vagus.runtime.eventlog import At
from vagus.runtime.jetstream_log import JetStreamLog

TRACE = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


class Logs:
    """Logs that this test alone writes; the first commit of a session makes its log."""

    def __init__(self, bus: Bus, subjects: Subjects, *, replicas: int = 1) -> None:
        self.log = JetStreamLog(bus, subjects, direct=True, replicas=replicas)
        self.heads: dict[str, int] = {}
        self._ends: dict[tuple[str, str], tuple[int, str]] = defaultdict(lambda: (0, ""))

    @property
    def sessions(self) -> list[str]:
        return list(self.heads)

    async def commit(
        self,
        session: str,
        *kinds: EventKind | str,
        at: str = "2026-04-05T12:26:01.123Z",
        branch: str = "main",
        traceparent: str | None = None,
    ) -> int:
        """Commit these events, texts as messages of a user; again and again while the server is away."""
        sequence, digest = self._ends[session, branch]
        made = records(
            *(UserMessage(content=kind) if isinstance(kind, str) else kind for kind in kinds),
            first=sequence + 1,
            session=session,
            branch=branch,
        )
        named = [
            msgspec.structs.replace(record, event_id=f"{session}.{branch}.{record.sequence}", timestamp=at)
            for record in made
        ]
        sealed = seal(named, digest)
        while True:
            try:
                if session not in self.heads:
                    await self.log.create(session)
                head = self.heads.get(session, 0)
                self.heads[session] = await self.log.commit(
                    session, branch, sealed, At(head), traceparent=traceparent
                )
                break
            except (OutcomeUnknown, Transient):  # repeating it is safe
                await anyio.sleep(0.05)
        self._ends[session, branch] = sequence + len(made), sealed.digest
        return self.heads[session]


@asynccontextmanager
async def written(logs: Logs, *, sessions: int = 6) -> AsyncIterator[None]:
    """Commits without a pause on all sessions, two branches each, while the block lasts."""
    ending = anyio.Event()

    async def write(session: str) -> None:
        number = 0
        while not ending.is_set():
            number += 1
            branch = "main" if number % 3 else "other"
            await logs.commit(session, *[f"{number}"] * (1 + number % 5), branch=branch)
            await anyio.sleep(0.02)

    async with anyio.create_task_group() as writers:
        for number in range(sessions):
            writers.start_soon(write, f"s{number}")
        yield
        ending.set()
