"""For how long Linux lets a process run at a stretch."""

import platform
import re
from pathlib import Path

import pytest


def _takes_wishes() -> bool:
    release = re.match(r"(\d+)\.(\d+)", platform.release())
    if release is None or not Path("/proc/self/sched").exists():
        return False
    return (int(release[1]), int(release[2])) >= (6, 12)


with_slices = pytest.mark.skipif(not _takes_wishes(), reason="needs Linux 6.12 that tells of slices")


def slice_ns(pid: int) -> int:
    """The slice of a process, or of one of its threads."""
    found = re.search(r"^se\.slice\s*:\s*(\d+)", Path(f"/proc/{pid}/sched").read_text(), re.MULTILINE)
    assert found is not None
    return int(found[1])
