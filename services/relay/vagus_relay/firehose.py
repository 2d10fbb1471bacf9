"""Carries what sessions commit into the firehose.

The feed only hints that a session has a new commit; what it was is read from the session's log. A commit that
no hint told of is found by the next hint of its session, whose number is not the next one, or by a survey.
"""

import logging
import random
from collections import deque
from collections.abc import Collection
from typing import Final

import anyio
import msgspec

from vagus.contract.errors import Conflict, Permanent, SessionNotFound, Unavailable, VagusError
from vagus.contract.subjects import Subjects
from vagus.runtime import faults
from vagus.runtime.bus import Bus, Message
from vagus.runtime.eventlog import Commit
from vagus.runtime.jetstream_log import JetStreamLog
from vagus.runtime.jetstream_log.heads import heads
from vagus.runtime.jetstream_log.pages import DirectPages
from vagus.runtime.members import owner
from vagus_relay.cursor import Cursor, Cursors, Standing
from vagus_relay.event import messages, portions
from vagus_relay.press import BATCH_BYTES, BATCH_MESSAGES, Press

COMMITS_READ: Final = "relay.commits_read"
"""Fault point: commits are read, nothing of them is sent."""
CURSOR_NOTED: Final = "relay.cursor_noted"
"""Fault point: it is noted how far a session has come."""

PAGE_COMMITS: Final = 256
CONFLICT_S: Final = 0.02
RETRY_S: Final = 0.5
"""After a failure, jittered. A survey finds what was given up."""
NOTE_S: Final = 10.0
"""How far notes are behind the firehose."""

_log = logging.getLogger(__name__)


class Track(msgspec.Struct):
    """A session whose events we carry."""

    head: int = 0
    """Of its log, as far as we have heard."""
    cursor: Cursor | None = None
    """How far its events are in the firehose, at least; None: it was not looked up yet."""
    place: int | None = None
    """Of its last message there; None: to be looked up."""
    noted: Cursor | None = None
    behind_since: float | None = None
    taken: bool = False
    """It waits for a carrier, or has one."""
    halted: bool = False
    """Its log cannot be read on; the next survey tries again."""
    refused: Standing | None = None
    """Where the firehose has refused what we thought comes next."""

    @property
    def behind(self) -> int:
        """Commits that may not be in the firehose yet."""
        return self.head + 1 - (self.cursor or Cursor()).next


class Firehose:
    """Of the sessions that are this relay's share."""

    def __init__(self, bus: Bus, subjects: Subjects, me: str) -> None:
        self._bus = bus
        self._log = JetStreamLog(bus, subjects, direct=True)
        self._me = me
        self._live: Collection[str] = (me,)
        self._pages = DirectPages(bus, subjects)
        self._press = Press(bus, subjects)
        self._queue: deque[str] = deque()
        self._queued = anyio.Event()
        self._subjects = subjects
        self._tracks: dict[str, Track] = {}
        self.cursors = Cursors(bus, subjects, self._log)
        self.leaving = False
        self.published = 0
        """Events put into the firehose."""
        self.repaired = 0
        """Commits that no hint had told of when they were found."""

    # Hearing ----------------------------------------------------------------------------------------------

    def hint(self, message: Message) -> None:
        """A message of the feed: nothing of it is believed but that it is worth a look."""
        number = message.headers.get("Nats-Sequence", "")
        if number.isascii() and number.isdigit():
            self._hear(Subjects.last_token(message.subject, 2), int(number))

    def share(self, live: Collection[str]) -> None:
        """Divide the sessions with these relays from now on."""
        self._live = live
        for session_id in [known for known in self._tracks if not self._ours(known)]:
            if not self._tracks[session_id].taken:
                del self._tracks[session_id]

    async def survey(self) -> None:
        """Look for commits that nobody told of; raises as `heads` and `Cursors.notes`."""
        notes = await self.cursors.notes()
        found = await heads(self._bus, self._subjects)
        for session_id, head in found.items():
            if self._ours(session_id):
                self._learn(session_id, head, notes.get(session_id))
        for session_id in self._tracks.keys() - found.keys():  # archived or erased: nothing is left to carry
            if not self._tracks[session_id].taken:
                del self._tracks[session_id]

    def _learn(self, session_id: str, head: int, noted: Cursor | None) -> None:
        track = self._tracks.get(session_id)
        if track is None:
            track = self._tracks[session_id] = Track(head=head, cursor=noted, noted=noted)
        track.halted = False
        if head > track.head:
            self.repaired += head - track.head
            track.head = head
        self._enlist(session_id, track)

    def _hear(self, session_id: str, head: int) -> None:
        track = self._tracks.get(session_id)
        if track is None:
            if not self._ours(session_id):
                return
            track = self._tracks[session_id] = Track()
        if head > track.head:
            if track.head:
                self.repaired += head - track.head - 1
            track.head = head
            self._enlist(session_id, track)

    def _enlist(self, session_id: str, track: Track) -> None:
        if track.behind > 0 and not track.taken and not track.halted:
            track.taken = True
            track.behind_since = track.behind_since or anyio.current_time()
            self._queue.append(session_id)
            self._queued.set()

    def _ours(self, session_id: str) -> bool:
        return owner(session_id, self._live) == self._me

    # Carrying ---------------------------------------------------------------------------------------------

    async def press(self) -> None:
        """Store what carriers bring, for ever."""
        await self._press.run()

    async def carry(self) -> None:
        """Carry one session after the other, until we leave."""
        while not self.leaving:
            if not self._queue:
                if self._queued.is_set():
                    self._queued = anyio.Event()
                await self._queued.wait()
                continue
            session_id = self._queue.popleft()
            track = self._tracks[session_id]
            pause_s = await self._tried(session_id, track)
            await anyio.sleep(pause_s * random.uniform(0.5, 1))  # noqa: S311 - spreads load, keeps no secret
            track.taken = False
            if track.behind <= 0:
                track.behind_since = None
            if self._ours(session_id):
                self._enlist(session_id, track)
            else:
                self._tracks.pop(session_id, None)

    async def _tried(self, session_id: str, track: Track) -> float:
        """Carry a page of a session's commits; returns after which pause to go on."""
        try:
            await self._carry(session_id, track)
        except SessionNotFound:
            track.head, track.place = 0, None
        except Conflict:  # another relay works on it, or did
            track.refused, track.place = Standing(track.cursor or Cursor(), track.place or 0), None
            return CONFLICT_S
        except Permanent as error:
            _log.error("the events of session %s stop here: %s", session_id, error)
            track.halted, track.place = True, None
        except VagusError as error:
            _log.warning("the events of session %s wait: %s", session_id, error)
            track.place = None
            return RETRY_S
        else:
            track.refused = None
        return 0.0

    def leave(self) -> None:
        """Have every carrier end when what it brings is stored."""
        self.leaving = True
        self._queued.set()

    async def _carry(self, session_id: str, track: Track) -> None:
        most = BATCH_MESSAGES
        if track.place is None or track.cursor is None:
            standing = await self.cursors.read(session_id, track.cursor)
            track.cursor, track.place = standing.cursor, standing.place
            if standing == track.refused:
                most = 1  # stored lately and removed: refused in a batch, passed over if alone
        commits = await self._read(session_id, track.cursor.next)
        faults.hit(COMMITS_READ)
        if not commits:
            track.head = track.cursor.commit
            track.cursor = msgspec.structs.replace(track.cursor, whole=True)
            return
        found = messages(self._subjects, commits, track.cursor)
        for portion in portions(found, most, BATCH_BYTES):
            track.place = await self._press.store(session_id, track.place, portion)
            track.cursor = portion[-1].end
            self.published += len(portion)
            if self.leaving:
                return
        track.cursor = Cursor(commits[-1].stream_sequence, commits[-1].last)

    async def _read(self, session_id: str, start: int) -> list[Commit]:
        """Commits from `start` on without a gap; empty if there are none.

        Raises:
            SessionNotFound: There is no such log.
            Malformed: The log has lost the commit, or has it damaged.
            Unavailable: It did not come.
        """
        try:
            page = await self._pages.page(session_id, None, start, PAGE_COMMITS)
        except Unavailable:
            page = []  # perhaps there is no such log
        whole = [commit for place, commit in enumerate(page, start) if commit.stream_sequence == place]
        if whole:
            return whole
        async for commit in self._log.commits(session_id, after=start - 1, until=start):
            return [commit]
        return []

    # Noting -----------------------------------------------------------------------------------------------

    async def note(self) -> None:
        """Note how far the sessions have come since they were noted last."""
        for session_id, track in tuple(self._tracks.items()):
            cursor = track.cursor
            if cursor is not None and cursor.whole and (track.noted is None or track.noted < cursor):
                await self.cursors.note(session_id, cursor)
                track.noted = cursor
                faults.hit(CURSOR_NOTED)
