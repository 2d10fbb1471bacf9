"""The C library, for what Python has no function of."""

import ctypes
from functools import cache


@cache
def libc() -> ctypes.CDLL:
    """The one that this process runs on; to be asked for before a fork, not after it."""
    return ctypes.CDLL(None)
