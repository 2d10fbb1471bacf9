"""Whatever fails, dies or comes again: a session's events are handed out in order, and none is left out."""

from hypothesis import given
from hypothesis import strategies as st

from vagus.contract.subscriptions import Checkpoint
from vagus.runtime.subscription.bench import Bench, Item
from vagus.runtime.subscription.position import Position

SESSIONS = "abc"
PLACES = st.integers(0, 9)
STEP = st.one_of(
    st.tuples(st.just("read"), st.integers(3, 9)),
    st.tuples(st.just("take"), st.integers(1, 4)),
    st.tuples(st.just("take"), st.integers(2, 4)),
    st.tuples(st.just("settle"), PLACES),
    st.tuples(st.just("fail"), PLACES),
    st.tuples(st.just("wait"), st.integers(1, 3)),
    st.tuples(st.just("die"), PLACES),
)
STREAM = [SESSIONS[number * number % 3] for number in range(24)]
"""The session of each event; its place in the stream is one more than that in the list."""


class World:
    """One share of a subscription, whose holders die and leave a checkpoint."""

    def __init__(self) -> None:
        self.checkpoint = Checkpoint(position=0)
        self.done: dict[str, list[int]] = {session: [] for session in SESSIONS}
        self.now = 0.0
        self.begin()

    def begin(self) -> None:
        self.bench, self.position = Bench(), Position(self.checkpoint)
        self.next = self.position.floor + 1
        self.out: list[Item] = []

    def step(self, verb: str, number: int) -> None:
        match verb:
            case "read":
                for _ in range(number):
                    self.read()
            case "take":
                self.out += self.take(number)
            case "wait":
                self.now += number
            case "die":
                if number % 2:
                    self.checkpoint = self.position.checkpoint(None)
                self.begin()
            case "settle" | "fail" if self.out:
                item = self.out.pop(number % len(self.out))
                self.end(item, failed=verb == "fail")

    def read(self) -> None:
        if self.next > len(STREAM):
            return
        place, self.next = self.next, self.next + 1
        if self.position.wants(place):
            failures = self.position.take(place)
            session = STREAM[place - 1]
            self.bench.put(Item(session, "main", "K", 0, place, place, str(place), b"", failures))

    def take(self, limit: int) -> list[Item]:
        """What is handed out: nothing before which there is something that is neither done nor in hand."""
        taken = self.bench.take(limit, self.now)
        hand = {item.position for item in self.bench.hand_of(0)}
        for item in taken:
            before = [place for place in places(item.session) if place < item.position]
            assert set(before) <= hand | set(self.done[item.session])
        return taken

    def end(self, item: Item, *, failed: bool) -> None:
        if not self.bench.in_hand(item):
            return  # taken back when one before it failed
        if failed:
            self.bench.fail(item, self.now + 1)
            self.position.failed(item.position, item.failures)
        else:
            self.bench.settle(item)
            self.position.settle(item.position)
            self.done[item.session].append(item.position)

    def drain(self) -> None:
        """Go on until all is done."""
        for item in self.out:
            self.end(item, failed=False)
        while self.next <= len(STREAM) or self.bench.held:
            self.read()
            self.now += 1
            for item in self.take(9):
                self.end(item, failed=False)


def places(session: str) -> list[int]:
    return [place for place, name in enumerate(STREAM, 1) if name == session]


@given(st.lists(STEP, min_size=8, max_size=40))
def test_nothing_is_left_out_and_nothing_overtakes(steps: list[tuple[str, int]]) -> None:
    world = World()
    for verb, number in steps:
        world.step(verb, number)
    world.drain()
    for session in SESSIONS:
        assert set(world.done[session]) == set(places(session))
    assert world.position.checkpoint(None) == Checkpoint(position=len(STREAM))
