"""Shows a session's events while the demo goes on, and lets the demo wait until it has shown them."""

from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager
from typing import Final

import anyio

from vagus.cli.render.timeline import Timeline
from vagus.contract.errors import OutcomeUnknown
from vagus.contract.events import EventRecord, PhaseEntered
from vagus.contract.ids import MAIN
from vagus.contract.state import LoopPhase
from vagus.runtime.beside import beside
from vagus.sdk.session import Session

WAIT_S: Final = 30.0


class Watcher:
    """Follows a session from its first event on."""

    def __init__(self, session: Session, timeline: Timeline | None) -> None:
        self._session = session
        self._timeline = timeline
        self._moved = anyio.Event()
        self.heads: dict[str, int] = {}
        self.turns = 0
        """Turns of all branches that have ended; an approved call is one of its own."""
        self.events: list[EventRecord] = []

    async def follow(self) -> None:
        """Show events until cancelled."""
        async with aclosing(self._session.events()) as events:
            async for event in events:
                if self._timeline is not None:
                    self._timeline.add(event.record, event.line)
                self.events.append(event.record)
                self.heads[event.branch_id] = event.sequence
                if isinstance(event.kind, PhaseEntered) and event.kind.phase is LoopPhase.SLEEP:
                    self.turns += 1
                self._moved.set()
                self._moved = anyio.Event()

    async def shown(self, branch: str = MAIN, *, sequence: int = 1) -> None:
        """Wait until the event is shown; raises `OutcomeUnknown` if it does not come."""
        with anyio.move_on_after(WAIT_S):
            while self.heads.get(branch, 0) < sequence:
                await self._moved.wait()
            return
        raise OutcomeUnknown(f"event {sequence} of {branch} was not seen within {WAIT_S:g} s")

    async def turn_ended(self, before: int) -> None:
        """Wait until more than `before` turns have ended; raises `OutcomeUnknown` if none does."""
        with anyio.move_on_after(WAIT_S):
            while self.turns <= before:
                await self._moved.wait()
            return
        raise OutcomeUnknown(f"the approved call has not ended within {WAIT_S:g} s")


@asynccontextmanager
async def watching(session: Session, timeline: Timeline | None) -> AsyncIterator[Watcher]:
    """Follow a session while the block runs."""
    watcher = Watcher(session, timeline)
    async with beside(watcher.follow):
        yield watcher
