"""What the machine is, and how busy."""

import os
import platform
import subprocess
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from importlib.metadata import version
from pathlib import Path

from benchmarks.figures import Machine, percentile
from vagus.runtime.embedded import find_server

_TICKS_PER_S = os.sysconf("SC_CLK_TCK")
_BLOCK = 512
"""Bytes of what stat counts, on every file system."""
_UTIME, _STIME = 11, 12
"""Places in /proc/<pid>/stat, counted after the command's name."""


def describe(folder: Path) -> Machine:
    """The machine; `folder` is on the disk that is measured."""
    return Machine(
        processor=_processor(),
        cores=len(os.sched_getaffinity(0)),
        system=f"{platform.system()} {platform.release()}",
        python=platform.python_version(),
        nats_server=_server_version(),
        vagus=version("vagus"),
        fsync_p50_ms=round(_fsync_s(folder / "probe") * 1000, 3),
    )


def load() -> float:
    """The 1-minute load average."""
    return round(os.getloadavg()[0], 2)


def cpu_s(pid: int) -> float:
    """Processor time that a process has used, its threads included; 10 ms is the grain."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[_UTIME]) + int(fields[_STIME])) / _TICKS_PER_S


def memory_mb(pid: int) -> float:
    """Resident memory of a process; 10^6 bytes."""
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return round(pages * os.sysconf("SC_PAGE_SIZE") / 1e6, 1)


def descriptors(pid: int) -> int:
    """Files, sockets and the like that a process has open."""
    return len(list(Path(f"/proc/{pid}/fd").iterdir()))


def disk_mb(folder: Path) -> float:
    """What a folder takes on the disk; 10^6 bytes. Blocking, for seconds if there are many files."""
    return round(_blocks(folder) * _BLOCK / 1e6, 1)


def _blocks(folder: Path) -> int:
    """Of everything in it; what goes meanwhile does not count."""
    blocks = 0
    with suppress(FileNotFoundError), os.scandir(folder) as entries:
        for entry in entries:
            with suppress(FileNotFoundError):
                blocks += entry.stat(follow_symlinks=False).st_blocks
            if entry.is_dir(follow_symlinks=False):
                blocks += _blocks(Path(entry))
    return blocks


class CpuMeter:
    """Processor time of several kinds of processes from its making on."""

    def __init__(self, pids: Mapping[str, Sequence[int]]) -> None:
        self._pids = pids
        self._before = self._used()

    def _used(self) -> dict[str, float]:
        return {kind: sum(map(cpu_s, pids)) for kind, pids in self._pids.items()}

    def used_s(self) -> float:
        """Seconds used since, of all."""
        return sum(self._used().values()) - sum(self._before.values())

    def ms_per(self, count: int) -> dict[str, float]:
        """Milliseconds used since, divided by `count`."""
        used = self._used()
        return {kind: round((used[kind] - self._before[kind]) * 1000 / count, 3) for kind in used}


def _processor() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()


def _server_version() -> str:
    told = subprocess.run([find_server(), "--version"], capture_output=True, check=True, text=True)
    return told.stdout.strip().rpartition(" ")[2].removeprefix("v")


def _fsync_s(probe: Path) -> float:
    times: list[float] = []
    with probe.open("ab", buffering=0) as file:
        for _ in range(200):
            file.write(bytes(512))
            began = time.perf_counter()
            os.fsync(file.fileno())
            times.append(time.perf_counter() - began)
    probe.unlink()
    return percentile(sorted(times), 50)
