"""JSON values as types, and the encoder for values whose key order must be canonical."""

from itertools import accumulate
from typing import Final, TypeAlias

import msgspec

Json: TypeAlias = object
"""Any JSON value, decoded to plain Python: None, bool, int, float, str, list, dict with str keys."""


def compact(value: Json) -> bytes:
    """`value` as compact JSON, object keys sorted by their UTF-8 bytes, as the original's maps are."""
    return msgspec.json.encode(value, order="sorted")


_NOT_STRUCTURE: Final = bytes(set(range(256)) - set(b'"[]{}'))


def depth(text: bytes) -> int:
    """How deep the arrays and objects of a JSON text are nested; 0 for a bare value."""
    unescaped = text.replace(rb"\\", b"").replace(rb"\"", b"")
    brackets = b"".join(unescaped.translate(None, _NOT_STRUCTURE).split(b'"')[::2])
    return max(accumulate(1 if bracket in b"[{" else -1 for bracket in brackets), default=0)
