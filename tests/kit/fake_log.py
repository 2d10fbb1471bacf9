"""Stands in for the log that one process sees."""

from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Protocol

from anyio.lowlevel import checkpoint

from vagus.contract.codec import Sealed
from vagus.contract.errors import OutcomeUnknown, Unavailable
from vagus.contract.events import EventRecord
from vagus.runtime.eventlog import Commit, Expected
from vagus.runtime.memory_log import MemoryLog


class Faulty(Protocol):
    """What is to go wrong."""

    lose_acks: int
    """So many of the next commits are stored without a word."""
    refuse_commits: int
    """So many of the next commits do not reach the log."""


class OneProcess(Protocol):
    """A process, and its world."""

    @property
    def world(self) -> Faulty:
        """Where it runs."""

    async def passes(self) -> None:
        """One await of something outside."""


class FakeLog:
    """The world's log, as one process sees it: it may die before a commit is stored, or before it knows."""

    def __init__(self, log: MemoryLog, process: OneProcess) -> None:
        self._log = log
        self._process = process

    async def create(self, session_id: str) -> None:
        await self._process.passes()
        await self._log.create(session_id)

    async def commit(
        self,
        session_id: str,
        branch_id: str,
        sealed: Sealed,
        expected: Expected,
        *,
        traceparent: str | None = None,
    ) -> int:
        await self._process.passes()
        world = self._process.world
        if world.refuse_commits:
            world.refuse_commits -= 1
            raise Unavailable("the commit did not reach the log")
        sequence = await self._log.commit(session_id, branch_id, sealed, expected)
        await checkpoint()
        if world.lose_acks:
            world.lose_acks -= 1
            raise OutcomeUnknown("the acknowledgement was lost")
        return sequence

    async def head(self, session_id: str) -> int:
        await self._process.passes()
        return await self._log.head(session_id)

    async def commits(
        self, session_id: str, *, after: int = 0, until: int | None = None
    ) -> AsyncGenerator[Commit, None]:
        await self._process.passes()
        async with aclosing(self._log.commits(session_id, after=after, until=until)) as commits:
            async for commit in commits:
                yield commit

    async def read(
        self, session_id: str, branch_id: str, *, from_sequence: int = 1, limit: int = 200
    ) -> list[EventRecord]:
        await self._process.passes()
        return await self._log.read(session_id, branch_id, from_sequence=from_sequence, limit=limit)
