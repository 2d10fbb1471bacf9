"""The one share of a subscription that nobody else takes part in, and of which nothing is written down."""

from collections.abc import Collection, Mapping

from vagus.contract.subscriptions import Checkpoint
from vagus.runtime.subscription.bench import Item
from vagus.runtime.subscription.position import Position
from vagus.runtime.subscription.shares import Share


class Alone:
    """All events, from a place on."""

    valid = True

    def __init__(self, after: int) -> None:
        self.read_to = after
        self.held: Mapping[int, Share] = {0: Share(0, Position(Checkpoint(position=after)), 0, 0)}

    def set_back(self, position: int) -> None:
        """Nothing after this was looked at: it is no more."""
        self.held[0].position.set_back(position)
        self.read_to = min(self.read_to, position)

    async def note(self, items: Collection[Item]) -> None:
        """Nothing is written down."""

    def settled(self, item: Item) -> None:
        """One event is done."""
        self.held[0].position.settle(item.position)

    def failed(self, item: Item) -> None:
        """One event has failed once more."""
        self.held[0].position.failed(item.position, item.failures)

    def failing(self, item: Item, since: float) -> None:
        """Delivering one event has failed since then."""
        self.held[0].position.failing(item.position, since)
