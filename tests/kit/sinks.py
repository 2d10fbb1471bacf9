"""Sinks by hand: events to deliver, and a source that gives them as a subscription does."""

from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from itertools import count
from typing import Any

import anyio
import msgspec

from vagus_relay.sinks.port import Delivery

_IDS = count(1)


@dataclass(eq=False)
class Given:
    """One delivery, and what became of it."""

    line: bytes
    session_id: str
    branch_id: str
    sequence: int
    reason: str | None = None
    """Why it was buried."""
    retried: bool = False
    """It was a dead letter."""
    failing_since: float | None = None
    """What was noted."""
    acked: list["Given"] | None = None
    """Where it is noted that it was acknowledged."""

    async def ack(self) -> None:
        assert self.acked is not None
        self.acked.append(self)

    async def note_failing(self, since: float) -> None:
        self.failing_since = since

    async def bury(self, reason: str) -> None:
        self.reason = reason

    @property
    def event(self) -> Any:
        return msgspec.json.decode(self.line)


def given(
    session: str = "s",
    sequence: int = 1,
    kind: dict[str, Any] | None = None,
    *,
    branch: str = "main",
    at: str = "2026-11-23T10:00:00.123456789Z",
    agent: str = "agent",
    **more: Any,
) -> Given:
    """An event of a log that nobody has written."""
    record = {
        "event_id": f"event-{next(_IDS)}",
        "session_id": session,
        "agent_id": agent,
        "branch_id": branch,
        "sequence": sequence,
        "timestamp": at,
        "actor": {"type": "system", "component": "vagus-kernel"},
        "correlation_id": "tick-1",
        "digest": "blake3:00",
        "kind": kind if kind is not None else {"type": "ErrorRaised", "message": f"no. {sequence}"},
    } | more
    return Given(msgspec.json.encode(record), session, branch, sequence)


def several(session: str, last: int, first: int = 1) -> list[Given]:
    """Consecutive events of a session."""
    return [given(session, sequence) for sequence in range(first, last + 1)]


@dataclass
class FakeSource:
    """Gives each event once, in order; of a session only what is given together is in hand at a time."""

    waiting: deque[Given] = field(default_factory=deque)
    acked: list[Given] = field(default_factory=list)
    given: list[Given] = field(default_factory=list)

    def put(self, events: Iterable[Given]) -> None:
        for event in events:
            event.acked = self.acked
            self.waiting.append(event)

    async def batch(self, limit: int, within_s: float) -> Sequence[Given]:
        """What is there; waits but a moment if nothing is."""
        busy = {event.session_id for event in self.open}
        taken = [event for event in self.waiting if event.session_id not in busy][:limit]
        for event in taken:
            self.waiting.remove(event)
        self.given += taken
        if not taken:
            await anyio.sleep(min(within_s, 0.005))
        return taken

    @property
    def open(self) -> list[Given]:
        """Given, and neither acked nor buried."""
        return [event for event in self.given if event not in self.acked and event.reason is None]


@dataclass
class FakeSink:
    """Writes down what it takes; `fail` may raise first."""

    written: list[Delivery] = field(default_factory=list)
    fail: Any = None

    async def write(self, batch: Sequence[Delivery]) -> None:
        await anyio.lowlevel.checkpoint()
        if self.fail is not None:
            self.fail(batch)
        self.written += batch
