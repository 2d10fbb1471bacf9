"""Carries what sessions commit into the firehose: read from their logs, stored behind what is there."""

import logging
import random
from collections import deque
from contextlib import aclosing
from time import monotonic
from typing import Final

import anyio
import msgspec

from vagus.contract.errors import Conflict, Permanent, SessionNotFound, VagusError
from vagus.contract.subjects import Subjects
from vagus.runtime import faults, telemetry
from vagus.runtime.bus import Bus
from vagus.runtime.jetstream_log import JetStreamLog
from vagus_relay.cursor import Cursors, Standing
from vagus_relay.event import EventMessage, messages
from vagus_relay.press import BATCH_BYTES, BATCH_MESSAGES, Press
from vagus_relay.roster import Roster, Track

COMMITS_READ: Final = "relay.commits_read"
"""Fault point: events are read and not sent."""
STANDING_NOTED: Final = "relay.standing_noted"
"""Fault point: it is noted how far a session has come."""

TURN_COMMITS: Final = 256
"""Of one session, before it is another one's turn."""
RETRY_S: Final = 0.5
"""After a failure, jittered."""
CONFLICT_S: Final = 0.02
NOTERS: Final = 8
"""Notes under way at a time."""

_log = logging.getLogger(__name__)


class Firehose:
    """Filled with the sessions of its roster."""

    def __init__(self, bus: Bus, subjects: Subjects, me: str) -> None:
        self._bus = bus
        self._log = JetStreamLog(bus, subjects, direct=True)
        self._press = Press(bus, subjects)
        self._subjects = subjects
        self._leaving = False
        self.cursors = Cursors(bus, subjects, self._log)
        self.roster = Roster(bus, subjects, self.cursors, me)
        self.published = 0
        """Events put into the firehose."""

    async def press(self) -> None:
        """Store what carriers bring, for ever."""
        await self._press.run()

    def leave(self) -> None:
        """Have every carrier end when what it brings is stored."""
        self._leaving = True
        self.roster.leave()

    async def carry(self) -> None:
        """Carry one session after the other, until we leave."""
        while (taken := await self.roster.take()) is not None:
            session_id, track = taken
            began, heard = monotonic(), track.head
            pause_s = await self._tried(session_id, track)
            await anyio.sleep(pause_s * random.uniform(0.5, 1))  # noqa: S311 - spreads load, keeps no secret
            self.roster.put_back(session_id, track, began=began, heard=heard)

    async def _tried(self, session_id: str, track: Track) -> float:
        """Give a session its turn; returns after which pause to go on."""
        try:
            await self._carry(session_id, track)
        except SessionNotFound:
            track.gone = True
        except Conflict:  # another relay carries it, or did
            track.refused, track.sure = track.standing, False
            return CONFLICT_S
        except Permanent as error:
            _log.error("the events of session %s go no further: %s", session_id, error)
            track.halted, track.sure = True, False
        except VagusError as error:
            level = logging.WARNING if self._bus.connected else logging.DEBUG  # of which the bus has told
            _log.log(level, "the events of session %s wait: %s", session_id, error)
            track.sure = False
            return RETRY_S
        else:
            track.refused = None
        return 0.0

    async def _carry(self, session_id: str, track: Track) -> None:
        standing = track.standing
        if standing is None or not track.sure:
            standing = track.standing = await self.cursors.read(session_id, standing)
            track.sure = True
        # What was stored lately and then removed is refused in a batch, and passed over if it comes alone.
        most = 1 if standing == track.refused else BATCH_MESSAGES
        heard, after = track.head, standing.cursor.next - 1
        until = min(max(heard, standing.cursor.commit), after + TURN_COMMITS)
        read, portion, size = None, list[EventMessage](), 0
        commits = self._log.commits(session_id, after=after, until=until)
        async with aclosing(commits):
            async for read in commits:
                for message in messages(self._subjects, read, standing.cursor):
                    if portion and (len(portion) == most or size + len(message.line) > BATCH_BYTES):
                        await self._store(session_id, track, portion)
                        if self._leaving:
                            return
                        portion, size = [], 0
                    portion.append(message)
                    size += len(message.line)
        if portion:
            await self._store(session_id, track, portion)
        elif read is not None and read.stream_sequence == standing.cursor.commit:  # nothing came after it
            whole = msgspec.structs.replace(standing.cursor, whole=True)
            track.standing = msgspec.structs.replace(standing, cursor=whole)
        if read is None and track.head == heard:
            track.head = after  # what we heard was not true, or is long done

    async def _store(self, session_id: str, track: Track, portion: list[EventMessage]) -> None:
        faults.hit(COMMITS_READ)
        if track.standing is None:
            raise Conflict("the firehose is not what it was")
        place = await self._press.store(session_id, track.standing.place, portion)
        track.standing = Standing(portion[-1].end, place)
        self.roster.furthest = max(self.roster.furthest, place)
        self.published += len(portion)
        telemetry.record_relayed(len(portion))

    async def note(self) -> None:
        """Note how far the sessions have come since they were noted last; what fails is left for later."""
        due = deque(
            (session_id, track, track.standing)
            for session_id, track in self.roster.tracks.items()
            if track.standing is not None and track.unnoted
        )

        async def some() -> None:
            while due:
                session_id, track, standing = due.popleft()
                try:
                    await self.cursors.note(session_id, standing)
                except VagusError as error:
                    _log.info("how far session %s has come is noted later: %s", session_id, error)
                    return
                track.noted = standing
                faults.hit(STANDING_NOTED)

        async with anyio.create_task_group() as noters:
            for _ in range(NOTERS):
                noters.start_soon(some)
