"""Runs a process whose clock somebody else sets: `python -m chaos.skewed MODULE`.

`CHAOS_CLOCK` names a file of eight bytes: how far the clock goes wrong, in nanoseconds. It is read at every
look at the clock, so that a clock can be set while the process runs. What goes by the loop's clock, such as
waiting, goes on as it was: that one cannot be set on a real machine either.
"""

import mmap
import os
import runpy
import struct
import sys
import time
from pathlib import Path
from typing import Final

CLOCK: Final = "CHAOS_CLOCK"
_OFFSET: Final = struct.Struct("=q")


def set_clock(file: Path, ahead_s: float) -> None:
    """Set a clock so far ahead, negative: behind; the file is made if need be."""
    written = _OFFSET.pack(round(ahead_s * 1e9))
    with file.open("r+b" if file.exists() else "xb") as clock:
        clock.write(written)


def skew(file: Path) -> None:
    """Have this process go by that file."""
    with file.open("rb") as clock:
        shared = mmap.mmap(clock.fileno(), _OFFSET.size, access=mmap.ACCESS_READ)
    true_ns, offset = time.time_ns, _OFFSET.unpack_from

    def time_ns() -> int:
        ahead: int = offset(shared)[0]
        return true_ns() + ahead

    time.time_ns = time_ns
    time.time = lambda: time_ns() / 1e9


def main() -> None:
    """Become the module that is named."""
    skew(Path(os.environ[CLOCK]))
    module = sys.argv.pop(1)
    runpy.run_module(module, run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main()
