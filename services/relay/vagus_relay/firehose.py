"""Carries what sessions commit into the firehose.

The feed only hints that a session has a new commit; what it was is read from the session's log. A commit that
no hint told of is found by the next hint of its session, whose number is not the next one, or by a survey.
"""

import logging
import random
from collections import deque
from collections.abc import Collection
from contextlib import aclosing
from time import monotonic
from typing import Final

import anyio
import msgspec

from vagus.contract.errors import Conflict, Permanent, SessionNotFound, VagusError
from vagus.contract.ids import is_id
from vagus.contract.subjects import Subjects
from vagus.runtime import faults, telemetry
from vagus.runtime.bus import Bus, Message
from vagus.runtime.jetstream_log import JetStreamLog
from vagus.runtime.jetstream_log.heads import heads
from vagus.runtime.members import owner
from vagus_relay.cursor import Cursors, Standing
from vagus_relay.event import EventMessage, messages
from vagus_relay.press import BATCH_BYTES, BATCH_MESSAGES, Press

COMMITS_READ: Final = "relay.commits_read"
"""Fault point: events are read and not sent."""
STANDING_NOTED: Final = "relay.standing_noted"
"""Fault point: it is noted how far a session has come."""

TURN_COMMITS: Final = 256
"""Of one session, before it is another one's turn."""
RETRY_S: Final = 0.5
"""After a failure, jittered."""
CONFLICT_S: Final = 0.02
SETTLE_S: Final = 0.25
"""What calls for a survey comes in swarms, such as the leaders that are elected when a server has died."""
NOTERS: Final = 8
"""Notes under way at a time."""

_log = logging.getLogger(__name__)


class Track(msgspec.Struct):
    """A session whose events we carry."""

    head: int = 0
    """Of its log, as far as we have heard."""
    standing: Standing | None = None
    """How far its events are in the firehose, at least; None: it was not looked up yet."""
    sure: bool = False
    """Whether `standing` is where it stands."""
    noted: Standing | None = None
    refused: Standing | None = None
    """Where the firehose has refused what we thought comes next."""
    behind_since: float | None = None
    taken: bool = False
    """It waits for a carrier, or has one."""
    gone: bool = False
    """It has no log."""
    halted: bool = False
    """It cannot be carried on; the next survey tries again."""

    @property
    def behind(self) -> int:
        """Commits that may not be in the firehose yet."""
        return max(0, self.head + 1 - (1 if self.standing is None else self.standing.cursor.next))


class Firehose:
    """Of the sessions that are this relay's share."""

    def __init__(self, bus: Bus, subjects: Subjects, me: str) -> None:
        self._bus = bus
        self._log = JetStreamLog(bus, subjects, direct=True)
        self._me = me
        self._live: Collection[str] = (me,)
        self._press = Press(bus, subjects)
        self._queue: deque[str] = deque()
        self._queued = anyio.Event()
        self._due = anyio.Event()
        self._subjects = subjects
        self._leaving = False
        self._furthest = 0
        self.tracks: dict[str, Track] = {}
        self.cursors = Cursors(bus, subjects, self._log)
        self.published = 0
        """Events put into the firehose."""
        self.repaired = 0
        """Commits that no hint had told of when they were found."""

    # Hearing ----------------------------------------------------------------------------------------------

    def hint(self, message: Message) -> None:
        """A message of the feed: nothing of it is believed but that a session is worth a look."""
        number = message.headers.get("Nats-Sequence", "")
        session_id = Subjects.last_token(message.subject, 2)
        if is_id(session_id) and number.isascii() and number.isdigit():
            self._hear(session_id, int(number))

    def _hear(self, session_id: str, head: int) -> None:
        track = self.tracks.get(session_id)
        if track is None:
            if not self._ours(session_id):
                return
            track = self.tracks[session_id] = Track(head=head)
        elif head > track.head:
            self._repair(head - track.head - 1)
            track.head = head
        self._enlist(session_id, track)

    def share(self, live: Collection[str]) -> None:
        """Divide the sessions with these relays from now on."""
        self._live = live
        for session_id, track in tuple(self.tracks.items()):
            if not track.taken and not self._ours(session_id):
                del self.tracks[session_id]
        self.survey_soon()

    def survey_soon(self) -> None:
        """Somebody may have committed something that we were not told of."""
        self._due.set()

    async def surveys(self, every_s: float) -> None:
        """Survey again and again, for ever; a survey that fails is made again soon."""
        wait_s = every_s
        while True:
            with anyio.move_on_after(wait_s):
                await self._due.wait()
                await anyio.sleep(SETTLE_S)
            self._due = anyio.Event()
            wait_s = every_s
            try:
                await self.survey()
            except VagusError as error:
                _log.warning("what was committed meanwhile is looked for later: %s", error)
                wait_s = min(every_s, RETRY_S * random.uniform(1, 2))  # noqa: S311 - spreads load

    async def survey(self) -> None:
        """Look for commits that nobody told of; raises as `heads` and `Cursors`."""
        furthest = self._furthest
        found = await heads(self._bus, self._subjects)
        if (
            await self.cursors.end() < furthest
        ):  # it was made anew, or has lost its end: nothing holds any more
            _log.warning("the firehose is shorter than it was: looking up where every session stands")
            self._furthest = 0
            for track in self.tracks.values():
                track.standing, track.noted, track.sure = None, None, False
        ours = {session_id: head for session_id, head in found.items() if self._ours(session_id)}
        notes = await self.cursors.notes() if ours.keys() - self.tracks.keys() else {}
        for session_id, head in ours.items():
            self._learn(session_id, head.sequence, notes.get(session_id))
        for session_id in self.tracks.keys() - ours.keys():  # archived, erased, or another relay's
            if not self.tracks[session_id].taken:
                del self.tracks[session_id]

    def _learn(self, session_id: str, head: int, noted: Standing | None) -> None:
        track = self.tracks.get(session_id)
        if track is None:
            track = self.tracks[session_id] = Track(head=head, standing=noted, noted=noted)
        elif head > track.head:
            self._repair(head - track.head)
            track.head = head
        track.halted = False
        self._enlist(session_id, track)

    def _enlist(self, session_id: str, track: Track) -> None:
        if track.behind and not track.taken and not track.halted:
            track.taken = True
            track.behind_since = track.behind_since or monotonic()
            self._queue.append(session_id)
            self._queued.set()

    def _repair(self, commits: int) -> None:
        self.repaired += commits
        telemetry.record_repaired(commits)

    def _ours(self, session_id: str) -> bool:
        return owner(session_id, self._live) == self._me

    # Carrying ---------------------------------------------------------------------------------------------

    async def press(self) -> None:
        """Store what carriers bring, for ever."""
        await self._press.run()

    def leave(self) -> None:
        """Have every carrier end when what it brings is stored."""
        self._leaving = True
        self._queued.set()

    async def carry(self) -> None:
        """Carry one session after the other, until we leave."""
        while not self._leaving:
            if not self._queue:
                if self._queued.is_set():
                    self._queued = anyio.Event()
                await self._queued.wait()
                continue
            session_id = self._queue.popleft()
            track = self.tracks[session_id]
            pause_s = await self._tried(session_id, track)
            await anyio.sleep(pause_s * random.uniform(0.5, 1))  # noqa: S311 - spreads load, keeps no secret
            track.taken = False
            if not track.behind:
                track.behind_since = None
            if self._ours(session_id) and not track.gone:
                self._enlist(session_id, track)
            else:
                self.tracks.pop(session_id, None)

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
            _log.warning("the events of session %s wait: %s", session_id, error)
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
        before = 0 if track.standing is None else track.standing.place
        place = await self._press.store(session_id, before, portion)
        track.standing = Standing(portion[-1].end, place)
        self._furthest = max(self._furthest, place)
        self.published += len(portion)
        telemetry.record_relayed(len(portion))

    # Noting -----------------------------------------------------------------------------------------------

    async def note(self) -> None:
        """Note how far the sessions have come since they were noted last; what fails is left for later."""
        due = deque(
            (session_id, track, track.standing)
            for session_id, track in self.tracks.items()
            if track.standing is not None and track.standing.cursor.whole and track.standing != track.noted
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

    # Showing ----------------------------------------------------------------------------------------------

    @property
    def behind(self) -> int:
        """Commits that may not be in the firehose yet."""
        return sum(track.behind for track in tuple(self.tracks.values()))

    @property
    def lag_s(self) -> float:
        """For how long the session that has waited longest has been behind."""
        since = [
            track.behind_since for track in tuple(self.tracks.values()) if track.behind_since is not None
        ]
        return max(0.0, monotonic() - min(since)) if since else 0.0
