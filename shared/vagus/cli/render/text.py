"""Text from models and tools, made safe and short enough for a terminal."""

import unicodedata
from typing import Final

from vagus.contract.json import Json, compact

_LINE_BREAKS: Final = {"\n": "⏎", "\r": "⏎", "\t": " "}
_UNSEEN: Final = frozenset({"Cc", "Cf", "Cs", "Co", "Zl", "Zp"})
"""Control characters and others that steer a terminal or reorder what it shows."""


def clean(text: str, most: int | None = None) -> str:
    """One line without anything that steers a terminal; cut to `most` characters with an ellipsis."""
    if most is not None and len(text) > 4 * most:
        text = text[: 4 * most]
    line = "".join(_LINE_BREAKS.get(char) or (char if _seen(char) else "·") for char in text)
    return line if most is None or len(line) <= most else line[: most - 1] + "…"


def block(text: str) -> str:
    """As `clean`, but with its lines."""
    return "\n".join(clean(line) for line in text.replace("\r\n", "\n").split("\n"))


def short_json(value: Json, most: int = 100) -> str:
    """A JSON value on one short line."""
    return clean(compact(value).decode(), most)


def _seen(char: str) -> bool:
    return unicodedata.category(char) not in _UNSEEN
