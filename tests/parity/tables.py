"""The tables recorded from the original: inputs and what it made of them."""

from pathlib import Path
from typing import TypeVar

import msgspec

_T = TypeVar("_T")

GOLDEN = Path(__file__).parent / "golden"


def table(name: str, shape: type[_T]) -> _T:
    return msgspec.json.decode((GOLDEN / f"table_{name}.json").read_bytes(), type=shape)
