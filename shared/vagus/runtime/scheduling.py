"""How Linux shares the cores of a machine among processes that wake each other all the time."""

import ctypes
import os
import platform
import sys
from typing import Final

from vagus.runtime.libc import libc

SLICE_NS: Final = 20_000_000
"""Linux takes 100 µs to 100 ms; its own is 700 µs to 3 ms, by the number of cores."""

_NUMBERS: Final = {"x86_64": 314, "aarch64": 274}
"""Of the system call sched_setattr: few C libraries have a function for it yet."""


class _Attributes(ctypes.Structure):
    _fields_ = (
        ("size", ctypes.c_uint32),
        ("policy", ctypes.c_uint32),
        ("flags", ctypes.c_uint64),
        ("nice", ctypes.c_int32),
        ("priority", ctypes.c_uint32),
        ("runtime_ns", ctypes.c_uint64),
        ("deadline_ns", ctypes.c_uint64),
        ("period_ns", ctypes.c_uint64),
    )


_LIBC: Final = libc() if sys.platform == "linux" and sys.maxsize > 2**32 else None


def lengthen_slice() -> None:
    """Have this process, and what it starts from now on, run longer at a stretch when others wait as well.

    As it comes, Linux soon puts the sender of a message aside for the receiver that it has woken, in the
    middle of what the sender was about to send along; a tick is a dozen such wake-ups on few cores. Who has
    a longer slice than others is put aside by them at once, gets no more time than they do, and needs no
    privilege for it. (The batch policy spares more of these changes, but then every one of those dozen
    wake-ups waits for whatever else the machine computes.) Linux does so from 6.12 on; before it, on other
    systems, under another policy, and where a sandbox forbids it, nothing changes.
    """
    number = _NUMBERS.get(platform.machine())
    if _LIBC is None or number is None or os.sched_getscheduler(0) != os.SCHED_OTHER:
        return
    wanted = _Attributes(
        size=ctypes.sizeof(_Attributes),
        policy=os.SCHED_OTHER,
        nice=os.getpriority(os.PRIO_PROCESS, 0),
        runtime_ns=SLICE_NS,
    )
    _LIBC.syscall(ctypes.c_long(number), ctypes.c_int(0), ctypes.byref(wanted), ctypes.c_uint(0))
