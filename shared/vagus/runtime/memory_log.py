"""Session logs in memory: the same contract as on JetStream, for tests and for trying things out."""

from collections.abc import AsyncGenerator

import anyio
from anyio.lowlevel import checkpoint

from vagus.contract import limits
from vagus.contract.codec import Sealed
from vagus.contract.errors import Conflict, SessionNotFound, VagusError
from vagus.contract.events import EventRecord
from vagus.runtime import clock
from vagus.runtime.eventlog import Commit, Expected, events_from, split


class MemoryLog:
    """An `EventLog` that ends with the process."""

    def __init__(self, *, max_payload: int = limits.MAX_PAYLOAD_BYTES) -> None:
        self._max_payload = max_payload
        self._sessions: dict[str, list[Commit]] = {}
        self._grown: dict[str, anyio.Event] = {}
        self._ids: dict[str, set[str]] = {}
        self._failures: list[tuple[VagusError, bool]] = []

    def fail_next(self, error: VagusError, *, after_store: bool = False) -> None:
        """Make the next commit raise `error`, before or after it is stored; several calls queue up."""
        self._failures.append((error, after_store))

    @property
    def failing(self) -> bool:
        """Whether a failure waits for its commit."""
        return bool(self._failures)

    async def create(self, session_id: str) -> None:
        """See `EventLog.create`."""
        await checkpoint()
        self._sessions.setdefault(session_id, [])
        self._grown.setdefault(session_id, anyio.Event())
        self._ids.setdefault(session_id, set())

    async def commit(
        self,
        session_id: str,
        branch_id: str,
        sealed: Sealed,
        expected: Expected,
        *,
        traceparent: str | None = None,
    ) -> int:
        """See `EventLog.commit`; `traceparent` is not kept."""
        await checkpoint()
        error, after_store = self._failures.pop(0) if self._failures else (None, False)
        if error is not None and not after_store:
            raise error
        sequence = self._store(session_id, branch_id, split(sealed, self._max_payload), expected.sequence)
        if error is not None:
            raise error
        return sequence

    async def head(self, session_id: str) -> int:
        """See `EventLog.head`."""
        await checkpoint()
        return len(self._log(session_id))

    async def commits(
        self, session_id: str, *, after: int = 0, until: int | None = None
    ) -> AsyncGenerator[Commit, None]:
        """See `EventLog.commits`."""
        await checkpoint()
        for commit in self._log(session_id)[after:until]:
            yield commit

    async def read(
        self, session_id: str, branch_id: str, *, from_sequence: int = 1, limit: int = 200
    ) -> list[EventRecord]:
        """See `EventLog.read`."""
        await checkpoint()
        branch = (commit for commit in self._log(session_id) if commit.branch_id == branch_id)
        return events_from(branch, from_sequence, limit)

    async def follow(
        self, session_id: str, *, branch_id: str | None = None, after: int = 0
    ) -> AsyncGenerator[Commit, None]:
        """See `EventLog.follow`."""
        await checkpoint()
        log = self._log(session_id)
        while True:
            grown = self._grown[session_id]
            while after < len(log):
                commit = log[after]
                after += 1
                if branch_id in (None, commit.branch_id):
                    yield commit
            await grown.wait()

    def _log(self, session_id: str) -> list[Commit]:
        try:
            return self._sessions[session_id]
        except KeyError:
            raise SessionNotFound(f"session not found: {session_id}") from None

    def _store(self, session_id: str, branch_id: str, parts: tuple[Sealed, ...], expected: int) -> int:
        """Everything from the check to the last append happens without an await: it is atomic."""
        log = self._log(session_id)
        after = expected + len(parts)
        present = [commit.payload for commit in log[expected:after] if commit.branch_id == branch_id]
        if present == [part.payload for part in parts]:
            return after  # these very bytes: the call is repeated
        if len(log) != expected:
            raise Conflict(f"another writer was first: the last sequence is {len(log)}, not {expected}")
        ids = {part.records[-1].event_id for part in parts}
        if ids & self._ids[session_id]:
            raise Conflict("the events are on the log already")
        self._ids[session_id] |= ids
        stored_at = clock.now()
        log += (
            Commit(
                session_id=session_id,
                branch_id=branch_id,
                stream_sequence=sequence,
                first=part.records[0].sequence,
                last=part.records[-1].sequence,
                payload=part.payload,
                stored_at=stored_at,
            )
            for sequence, part in enumerate(parts, expected + 1)
        )
        self._grown[session_id].set()
        self._grown[session_id] = anyio.Event()
        return after
