"""An agenda: what is due when. Pure."""

import heapq


class Agenda:
    """Keys with an instant each (nanoseconds since the epoch); a key has at most one."""

    def __init__(self) -> None:
        self._due: dict[str, int] = {}
        self._heap: list[tuple[int, str]] = []

    def __len__(self) -> int:
        return len(self._due)

    def put(self, key: str, due_ns: int) -> None:
        """Set when `key` is due, in place of when it was."""
        self._due[key] = due_ns
        heapq.heappush(self._heap, (due_ns, key))
        if len(self._heap) > 64 + 2 * len(self._due):
            self._heap = [(due, key) for key, due in self._due.items()]
            heapq.heapify(self._heap)

    def drop(self, key: str) -> None:
        """Forget `key`, if it is there."""
        self._due.pop(key, None)

    def next_due(self) -> int | None:
        """The earliest instant; None if there is nothing."""
        while self._heap and self._due.get(self._heap[0][1]) != self._heap[0][0]:
            heapq.heappop(self._heap)
        return self._heap[0][0] if self._heap else None

    def take_due(self, now_ns: int) -> list[str]:
        """Take out all keys that are due, earliest first."""
        taken = []
        while (due := self.next_due()) is not None and due <= now_ns:
            key = heapq.heappop(self._heap)[1]
            del self._due[key]
            taken.append(key)
        return taken
