"""Numbers as the original writes them: IEEE single precision, printed with the fewest digits that read back.

A state value is held as the Python float of its shortest decimal (0.7, not 0.699999988), so that JSON prints
it as the original does. Every operation rounds its operands and its result to single precision.
"""

import math
import struct
from functools import lru_cache
from typing import Final

_SINGLE: Final = struct.Struct("<f")
_NORMAL: Final = 2.0**-126
"""From here on six digits tell any two singles apart, so that fewer need not be tried."""


def single(value: float) -> float:
    """`value` rounded to single precision (as a double that holds it exactly); infinite beyond its range."""
    try:
        rounded: float = _SINGLE.unpack(_SINGLE.pack(value))[0]
    except OverflowError:
        return math.copysign(math.inf, value)
    return rounded


def shortest(value: float) -> float:
    """The double that prints as the fewest digits which read back as the single nearest to `value`."""
    return _shortest(value) if value else float(value)  # 0.0 and -0.0 would share a cache entry


@lru_cache(maxsize=4096)  # a log repeats its values, and the controllers move in few steps
def _shortest(value: float) -> float:
    exact = single(value)
    for digits in range(6 if abs(exact) >= _NORMAL else 1, 10):
        candidate = float(f"{exact:.{digits}g}")
        if single(candidate) == exact:
            return candidate
    return exact


def add(left: float, right: float) -> float:
    """Single-precision sum."""
    return shortest(single(left) + single(right))


def multiply(left: float, right: float) -> float:
    """Single-precision product."""
    return shortest(single(left) * single(right))
