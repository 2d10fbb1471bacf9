"""Which stream a session's log is: its first one, or that which it was last restored to."""

from typing import Final

from vagus.contract.subjects import Subjects

_MOST: Final = 10_000
"""Restored sessions that are remembered; who is forgotten is looked up again."""


class StreamNames:
    """What one process knows. Being wrong is harmless: no name is used twice, so that nothing is found."""

    def __init__(self, subjects: Subjects) -> None:
        self._subjects = subjects
        self._generations: dict[str, int] = {}

    def of(self, session_id: str) -> str:
        """The stream."""
        return self._subjects.session_stream(session_id, self.generation(session_id))

    def generation(self, session_id: str) -> int:
        """The stream's number; 0 is the first."""
        return self._generations.get(session_id, 0)

    def learn(self, session_id: str, generation: int) -> None:
        """The log is that stream now."""
        if len(self._generations) >= _MOST:
            self._generations.clear()
        self._generations[session_id] = generation
