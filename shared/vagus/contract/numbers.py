"""Numbers as the original writes them: IEEE single precision, printed with the fewest digits that read back.

A state value is held as the Python float of its shortest decimal (0.7, not 0.699999988), so that JSON prints it
as the original does. Every operation rounds its operands and its result to single precision.
"""

import struct
from typing import Final

_SINGLE: Final = struct.Struct("<f")


def single(value: float) -> float:
    """`value` rounded to single precision (as a double that holds it exactly)."""
    rounded: float = _SINGLE.unpack(_SINGLE.pack(value))[0]
    return rounded


def shortest(value: float) -> float:
    """The double whose shortest decimal is the fewest digits that read back as the single nearest to `value`."""
    exact = single(value)
    for digits in range(1, 10):
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
