"""Bounding what tools give: streams are cut while they are read, values are measured once."""

from typing import Final

import msgspec

from vagus.contract import limits
from vagus.contract.errors import ToolFailure
from vagus.contract.json import Json, depth

DEPTH: Final = limits.JSON_DEPTH - 8
"""Of an output; the event around it must stay within limits.JSON_DEPTH."""
ERROR_CHARS: Final = 16 * limits.KIB
"""An error's text goes into the log and to the model; its head says what is wrong."""


class Head:
    """The first `limit` bytes of a stream; the rest is counted and forgotten."""

    def __init__(self, limit: int = limits.TOOL_OUTPUT_BYTES) -> None:
        self._limit = limit
        self._pieces: list[bytes] = []
        self._kept = 0
        self.total = 0
        """Bytes seen."""

    @property
    def cut(self) -> bool:
        """Whether something was forgotten."""
        return self.total > self._kept

    def add(self, piece: bytes) -> bytes:
        """Take the next piece; returns what of it was kept."""
        kept = piece[: self._limit - self._kept]
        if kept:
            self._pieces.append(kept)
            self._kept += len(kept)
        self.total += len(piece)
        return kept

    def text(self) -> str:
        """What was kept as text; bytes that are no UTF-8 become U+FFFD."""
        return b"".join(self._pieces).decode("utf-8", "replace")


def encoded(value: Json) -> bytes:
    """A tool's output as JSON.

    Raises:
        ToolFailure: It is no JSON value, is longer than `limits.OUTPUT_BYTES`, or is nested beyond `DEPTH`.
    """
    try:
        data = msgspec.json.encode(value)
    except (TypeError, ValueError, OverflowError, RecursionError) as error:
        raise ToolFailure(f"the output is not JSON: {error}") from error
    if len(data) > limits.OUTPUT_BYTES:
        raise ToolFailure(f"output too large: {len(data)} bytes, at most {limits.OUTPUT_BYTES}")
    if data.count(b"[") + data.count(b"{") > DEPTH and depth(data) > DEPTH:
        raise ToolFailure(f"the output is nested too deep: at most {DEPTH} arrays and objects in each other")
    return data


def shortened(text: str) -> str:
    """An error's text, cut if it is long, and without what cannot be written as UTF-8."""
    text = text.encode("utf-8", "replace").decode("utf-8")
    if len(text) <= ERROR_CHARS:
        return text
    return f"{text[:ERROR_CHARS]}… ({len(text)} characters in all)"
