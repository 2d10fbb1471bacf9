"""Identifiers: what they look like, how they are checked and how they are made.

Session and branch ids become subject tokens, stream names and folder names, so they are checked where they
enter. Ids that come from models (call ids) are only data and are never checked.
"""

import re
from typing import Annotated, Final

import blake3
import msgspec

from vagus.contract.errors import InvalidId

PATTERN: Final = r"^[A-Za-z0-9_-]{1,64}(?![\s\S])"
"""`(?![\\s\\S])` is the end of text in Python and in ECMAScript; `$` would let a newline through."""

Id = Annotated[str, msgspec.Meta(pattern=PATTERN)]
"""A checked id: 1 to 64 of `A-Z a-z 0-9 _ -`."""

MAIN: Final = "main"
"""The branch that every session starts with."""

_ID = re.compile(PATTERN)


def check_id(what: str, value: str) -> str:
    """Return `value` if it is a valid id, else raise `InvalidId` naming `what` it should have been."""
    if is_id(value):
        return value
    raise InvalidId(what, value)


def is_id(value: object) -> bool:
    """Whether `value` is a valid id."""
    return isinstance(value, str) and _ID.match(value) is not None


_VARIANT: Final = {digit: "89ab"[int(digit, 16) & 3] for digit in "0123456789abcdef"}
_AT_ONCE: Final = 16
"""Ids that one hash is drawn out to: a decision makes about twenty."""


class Mint:
    """Makes UUIDs (version 4 form) from one seed, so that the pure core needs no randomness.

    The same seed gives the same ids in the same order: deciding an input again names the same things.
    """

    def __init__(self, seed: bytes) -> None:
        self._seed = seed
        self._draws = 0
        self._ready: list[str] = []
        """The next one last."""

    def uuid(self) -> str:
        """The next id: 36 characters, lower case, hyphenated."""
        if not self._ready:
            self._ready = self._draw()
        return self._ready.pop()

    def _draw(self) -> list[str]:
        text = blake3.blake3(self._seed + self._draws.to_bytes(4, "big")).digest(16 * _AT_ONCE).hex()
        self._draws += 1
        return [
            f"{text[i : i + 8]}-{text[i + 8 : i + 12]}-4{text[i + 13 : i + 16]}"
            f"-{_VARIANT[text[i + 16]]}{text[i + 17 : i + 20]}-{text[i + 20 : i + 32]}"
            for i in range(32 * (_AT_ONCE - 1), -1, -32)
        ]
