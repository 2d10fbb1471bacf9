"""Which sessions are a relay's to carry, and which of them are behind.

The feed only hints that a session has a new commit. A commit that no hint told of is found by the next hint
of its session, whose number is not the next one, or by a survey of the ends of all logs: of those that are
streams, and of those that were archived since the last survey.
"""

import logging
import random
from collections import deque
from collections.abc import Collection
from time import monotonic
from typing import Final

import anyio
import msgspec

from vagus.contract.errors import VagusError
from vagus.contract.ids import is_id
from vagus.contract.subjects import Subjects
from vagus.runtime import telemetry
from vagus.runtime.archive.placements import Placements
from vagus.runtime.bus import Bus, Message
from vagus.runtime.jetstream_log.heads import heads
from vagus.runtime.members import owner
from vagus_relay.cursor import Cursors, Standing

RETRY_S: Final = 0.5
"""After a survey that failed, jittered."""
SETTLE_S: Final = 0.25
"""What calls for a survey comes in swarms, such as the leaders that are elected when a server has died."""

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

    @property
    def unnoted(self) -> bool:
        """Whether it has come further than is noted."""
        return self.standing is not None and self.standing.cursor.whole and self.standing != self.noted


class Roster:
    """The sessions that are this relay's share, and the queue of those that are behind."""

    def __init__(self, bus: Bus, subjects: Subjects, cursors: Cursors, me: str) -> None:
        self._archived_for: Collection[str] = ()
        self._archived_until = 0
        """Up to this revision we know which logs were archived, if the relays that lived then live now."""
        self._bus = bus
        self._cursors = cursors
        self._due = anyio.Event()
        self._leaving = False
        self._live: Collection[str] = (me,)
        self._me = me
        self._placements = Placements(bus, subjects)
        self._queue: deque[str] = deque()
        self._queued = anyio.Event()
        self._subjects = subjects
        self.furthest = 0
        """The last place in the firehose's stream that we know of."""
        self.repaired = 0
        """Commits that no hint had told of when they were found."""
        self.tracks: dict[str, Track] = {}

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
        """Look for commits that nobody told of; raises as `heads`, `Placements` and `Cursors`."""
        furthest, live = self.furthest, self._live
        found = await heads(self._bus, self._subjects)
        end = await self._cursors.end()
        if end < furthest:  # it was made anew, or has lost its end: nothing that we know holds any more
            _log.warning("the firehose is shorter than it was: looking up where every session stands")
            self.furthest, self._archived_for = 0, ()
            for track in self.tracks.values():
                track.standing, track.noted, track.sure = None, None, False
        ends = {session_id: head.sequence for session_id, head in found.items() if self._ours(session_id)}
        # Now, not before: what is archived meanwhile is in both.
        after = self._archived_until if self._archived_for == live else 0
        archived, until = await self._placements.archived(after, self._ours)
        notes = await self._cursors.notes() if (ends.keys() | archived) - self.tracks.keys() else {}
        for known in (ends, archived):
            for session_id, last in known.items():
                self._learn(session_id, last, notes.get(session_id))
        for session_id in self.tracks.keys() - ends.keys():
            self._retain(session_id, self.tracks[session_id])
        self._archived_for, self._archived_until = live, until

    def _learn(self, session_id: str, head: int, noted: Standing | None) -> None:
        track = self.tracks.get(session_id)
        if track is None:
            track = self.tracks[session_id] = Track(head=head, standing=noted, noted=noted)
        elif head > track.head:
            self._repair(head - track.head)
            track.head = head
        track.halted = False
        self._enlist(session_id, track)

    def _retain(self, session_id: str, track: Track) -> None:
        """Go on with a session whose log is no stream (archived, erased), or forget it if nothing is owed."""
        if track.taken:
            return
        if not self._ours(session_id) or not (track.behind or track.unnoted):
            del self.tracks[session_id]
            return
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

    # Handing out ------------------------------------------------------------------------------------------

    async def take(self) -> tuple[str, Track] | None:
        """The session that has been behind for longest, for one carrier alone; None when we leave."""
        while not self._leaving:
            if self._queue:
                session_id = self._queue.popleft()
                return session_id, self.tracks[session_id]
            if self._queued.is_set():
                self._queued = anyio.Event()
            await self._queued.wait()
        return None

    def put_back(self, session_id: str, track: Track, *, began: float, heard: int) -> None:
        """A carrier's turn with it, which `began` when its log was `heard` to be so long, is over."""
        track.taken = False
        if not track.behind:
            track.behind_since = None
        elif track.standing is not None and track.standing.cursor.commit >= heard:
            track.behind_since = began  # what it is behind with came meanwhile
        if self._ours(session_id) and not track.gone:
            self._enlist(session_id, track)
        else:
            self.tracks.pop(session_id, None)

    def leave(self) -> None:
        """Hand out nothing any more."""
        self._leaving = True
        self._queued.set()

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
