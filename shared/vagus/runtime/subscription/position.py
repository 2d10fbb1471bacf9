"""How far one share of a subscription has come. Pure."""

from collections.abc import Iterable

from vagus.contract.subscriptions import Checkpoint


class Position:
    """All up to `upto` was looked at; of that, what is open is not done."""

    def __init__(self, checkpoint: Checkpoint) -> None:
        self._upto = checkpoint.position
        self._open = dict(checkpoint.open)
        self._missing = set(checkpoint.open)
        """Open, and not here: to be read again."""

    @property
    def floor(self) -> int:
        """Reading goes on after this."""
        return min(self._missing) - 1 if self._missing else self._upto

    def wants(self, position: int) -> bool:
        """Whether the event there was not looked at, or is to be read again."""
        return position > self._upto or position in self._missing

    def take(self, position: int) -> int:
        """The event there is here, and open now; returns how often it has failed."""
        self._missing.discard(position)
        self._upto = max(self._upto, position)
        return self._open.setdefault(position, 0)

    def failed(self, position: int, failures: int) -> None:
        """An open event has failed so often."""
        self._open[position] = failures

    def settle(self, position: int) -> None:
        """It is done."""
        self._open.pop(position, None)

    def leave(self, positions: Iterable[int]) -> None:
        """These are open, and not here any more."""
        self._missing.update(positions)

    def passed(self, position: int) -> bool:
        """All up to there has been read; returns whether something open is gone from the stream."""
        self._upto = max(self._upto, position)
        gone = {missing for missing in self._missing if missing <= position}
        self._missing -= gone
        for missing in gone:
            del self._open[missing]
        return bool(gone)

    def set_back(self, position: int) -> None:
        """What was after it is no more."""
        self._upto = min(self._upto, position)
        for missing in {missing for missing in self._missing if missing > position}:
            self._missing.remove(missing)
            del self._open[missing]

    def checkpoint(self, holder: str | None) -> Checkpoint:
        """It, to be written down."""
        return Checkpoint(position=self._upto, open=dict(self._open), holder=holder)
