"""Who is next: events that wait, a lane a session. Pure: the time comes from outside.

A session's events are handed out in order, and the next ones only when all that were handed out before are
settled. What failed waits for its time, and its session with it, and then goes out alone: in a batch that
failed as a whole, the one at fault is found.
"""

import heapq
from collections import deque
from dataclasses import dataclass, field


@dataclass(eq=False, slots=True)
class Item:
    """An event on the bench."""

    session: str
    branch: str
    kind: str
    partition: int
    position: int
    """In the stream."""
    sequence: int
    """On its branch."""
    event_id: str
    line: bytes
    revived: str = ""
    """Its key, if it was a dead letter; it is then in no checkpoint."""
    failures: int = 0
    failing_since: float | None = None
    """Since when whoever had it has failed to deliver it, as far as they had that noted."""
    handed: int = 0
    """How often it was handed out here."""


@dataclass(eq=False, slots=True)
class _Lane:
    session: str
    partition: int
    waiting: deque[Item] = field(default_factory=deque)
    hand: list[Item] = field(default_factory=list)
    """Handed out and not settled."""
    due: float | None = None
    """Not before this time."""
    dropped: bool = False


class Bench:
    """Events that came and are not settled."""

    def __init__(self) -> None:
        self._lanes: dict[str, _Lane] = {}
        self._ready: deque[_Lane] = deque()
        self._later: list[tuple[float, int, _Lane]] = []
        self._count = 0
        self.held = 0
        """All that are here, those in hand included."""
        self.waiting = 0
        """Those that are not in hand."""

    def put(self, item: Item) -> None:
        """One more event: behind all others of its session."""
        lane = self._lanes.get(item.session)
        if lane is None:
            lane = self._lanes[item.session] = _Lane(item.session, item.partition)
        if not lane.waiting and not lane.hand and lane.due is None:
            self._ready.append(lane)
        lane.waiting.append(item)
        self.held += 1
        self.waiting += 1

    def is_alone(self, now: float) -> bool:
        """Whether what is handed out next comes alone, so that there is nothing to collect."""
        self._wake(now)
        while self._ready and not self._ready[0].waiting:
            self._ready.popleft()
        return bool(self._ready and self._ready[0].waiting[0].failures)

    def take(self, limit: int, now: float) -> list[Item]:
        """Hand out at most `limit` events, of each session consecutive ones; none if all must wait.

        What has failed before comes alone.
        """
        self._wake(now)
        taken: list[Item] = []
        while self._ready and len(taken) < limit:
            lane = self._ready[0]
            if lane.dropped or not lane.waiting:
                self._ready.popleft()
            elif lane.waiting[0].failures:
                if not taken:
                    self._ready.popleft()
                    self._hand_out(lane, taken)
                break
            else:
                self._ready.popleft()
                while lane.waiting and not lane.waiting[0].failures and len(taken) < limit:
                    self._hand_out(lane, taken)
        return taken

    def _hand_out(self, lane: _Lane, taken: list[Item]) -> None:
        item = lane.waiting.popleft()
        item.handed += 1
        lane.hand.append(item)
        self.waiting -= 1
        taken.append(item)

    def in_hand(self, item: Item) -> bool:
        """Whether it is handed out and neither settled nor taken away."""
        lane = self._lanes.get(item.session)
        return lane is not None and item in lane.hand

    def settle(self, item: Item) -> None:
        """It is done; it must be in hand."""
        lane = self._lanes[item.session]
        lane.hand.remove(item)
        self.held -= 1
        self._move_on(lane)

    def fail(self, item: Item, due: float) -> None:
        """It could not be done, and is handed out again after `due`; it must be in hand.

        Those of its session that were handed out after it are taken back: they come again behind it.
        """
        lane = self._lanes[item.session]
        at = lane.hand.index(item)
        back = lane.hand[at:]
        del lane.hand[at:]
        lane.waiting.extendleft(reversed(back))
        self.waiting += len(back)
        item.failures += 1
        lane.due = due
        self._move_on(lane)

    def put_back(self, item: Item) -> None:
        """It was not handed out after all; it must be in hand, with nothing of its session after it."""
        lane = self._lanes[item.session]
        lane.hand.remove(item)
        lane.waiting.appendleft(item)
        self.waiting += 1
        self._move_on(lane)

    def drop(self, partition: int, *, keep_hand: bool = False) -> None:
        """Forget a partition's events; with `keep_hand` only those that are not handed out."""
        for lane in [lane for lane in self._lanes.values() if lane.partition == partition]:
            self.held -= len(lane.waiting)
            self.waiting -= len(lane.waiting)
            lane.waiting.clear()
            if not keep_hand:
                self.held -= len(lane.hand)
                lane.hand.clear()
            if not lane.hand:
                self._forget(lane)

    def hand_of(self, partition: int) -> list[Item]:
        """Those of a partition that are handed out."""
        return [item for lane in self._lanes.values() if lane.partition == partition for item in lane.hand]

    def next_due(self) -> float | None:
        """When something that waits may be handed out again."""
        while self._later and self._later[0][2].dropped:
            heapq.heappop(self._later)
        return self._later[0][0] if self._later else None

    def _move_on(self, lane: _Lane) -> None:
        """Nothing of a session may be in hand any more: what comes next?"""
        if lane.hand:
            return
        if not lane.waiting:
            self._forget(lane)
        elif lane.due is None:
            self._ready.append(lane)
        else:
            self._count += 1
            heapq.heappush(self._later, (lane.due, self._count, lane))

    def _wake(self, now: float) -> None:
        while self._later and (self._later[0][2].dropped or self._later[0][0] <= now):
            lane = heapq.heappop(self._later)[2]
            if not lane.dropped:
                lane.due = None
                self._ready.append(lane)

    def _forget(self, lane: _Lane) -> None:
        lane.dropped = True
        if self._lanes.get(lane.session) is lane:
            del self._lanes[lane.session]
