"""JSON values as types, and the encoder for values whose key order must be canonical."""

from typing import TypeAlias

import msgspec

Json: TypeAlias = object
"""Any JSON value, decoded to plain Python: None, bool, int, float, str, list, dict with str keys."""


def compact(value: Json) -> bytes:
    """`value` as compact JSON, object keys sorted by their UTF-8 bytes, as the original's maps are."""
    return msgspec.json.encode(value, order="sorted")
