"""How far one share of a subscription has come. Pure: the time comes from outside."""

from collections.abc import Iterable

from vagus.contract.subscriptions import Checkpoint


class Position:
    """All up to `upto` was looked at; of that, what is open is not done."""

    def __init__(self, checkpoint: Checkpoint, now: float = 0.0) -> None:
        self._upto = checkpoint.position
        self._open = dict(checkpoint.open)
        self._missing = set(checkpoint.open)
        """Open, and not here: to be read again."""
        self._failing_since = {position: now - tried_s for position, tried_s in checkpoint.tried_s.items()}

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

    def failing_since(self, position: int) -> float | None:
        """Since when holders have failed with an open event, the time left out in which it had none."""
        return self._failing_since.get(position)

    def failing(self, position: int, since: float) -> None:
        """Holders have failed with an open event since then."""
        if position in self._open:
            self._failing_since[position] = since

    def settle(self, position: int) -> None:
        """It is done."""
        self._forget(position)

    def leave(self, positions: Iterable[int]) -> None:
        """These are open, and not here any more."""
        self._missing.update(positions)

    def passed(self, position: int) -> bool:
        """All up to there has been read; returns whether something open is gone from the stream."""
        self._upto = max(self._upto, position)
        gone = {missing for missing in self._missing if missing <= position}
        self._missing -= gone
        for missing in gone:
            self._forget(missing)
        return bool(gone)

    def set_back(self, position: int) -> None:
        """What was after it is no more."""
        self._upto = min(self._upto, position)
        for missing in {missing for missing in self._missing if missing > position}:
            self._missing.remove(missing)
            self._forget(missing)

    def checkpoint(self, holder: str | None, now: float = 0.0) -> Checkpoint:
        """It, to be written down."""
        tried_s = {position: round(now - since, 3) for position, since in self._failing_since.items()}
        return Checkpoint(position=self._upto, open=dict(self._open), tried_s=tried_s, holder=holder)

    def _forget(self, position: int) -> None:
        self._open.pop(position, None)
        self._failing_since.pop(position, None)
