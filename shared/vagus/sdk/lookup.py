"""Finds the end of a tick on the log: for when its reply was missed."""

from typing import Final

from vagus.contract import limits
from vagus.contract.commands import Tick
from vagus.contract.events import EventRecord
from vagus.contract.outcome import tick_output
from vagus.contract.sessions import TickOutput
from vagus.runtime import clock
from vagus.runtime.eventlog import EventLog

FIRST_WINDOW: Final = 64
"""Commits looked back over at first; more until the window begins before the command was sent."""
SLACK_NS: Final = (limits.DUPLICATE_WINDOW_S + 60) * 1_000_000_000
"""A repeated command may have been sent so long before us; and clocks differ."""


class TickLookup:
    """Collects the events of one tick, each look going on where the one before it ended."""

    def __init__(self, log: EventLog, command: Tick) -> None:
        self._log = log
        self._command = command
        self._events: list[EventRecord] = []
        self._position: int | None = None

    async def look(self) -> TickOutput | None:
        """The tick's output if it has ended; raises what reading the log raises."""
        if self._position is None:
            self._position = await self._start()
        async for commit in self._log.commits(self._command.session_id, after=self._position):
            self._position = commit.stream_sequence
            if commit.branch_id == self._command.branch_id:
                self._events += [
                    record for record in commit.records() if record.correlation_id == self._command.command_id
                ]
        return tick_output(self._events)

    async def _start(self) -> int:
        """A stream sequence from before the command was sent."""
        sent = clock.parse(self._command.sent_at) - SLACK_NS
        head = await self._log.head(self._command.session_id)
        window = FIRST_WINDOW
        while window < head:
            after = head - window
            async for commit in self._log.commits(self._command.session_id, after=after, until=after + 1):
                if clock.parse(commit.stored_at) < sent:
                    return after
            window *= 4
        return 0
