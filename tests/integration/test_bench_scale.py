"""The benchmarks of scale run, and what they write is what they found."""

import sys
from pathlib import Path
from subprocess import PIPE

import anyio
import msgspec
import pytest

from benchmarks.scale.figures import ScaleReport

SESSIONS = 6


async def test_a_quick_run_measures_calls_and_sessions_and_writes_what_it_found(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "benchmarks.scale", "--quick", "--only", "runners", "--only", "sessions"]
    command += ["--sessions", str(SESSIONS), "--results", str(tmp_path)]
    with anyio.fail_after(120):
        run = await anyio.run_process(command, stdout=PIPE)
    (written,) = [path async for path in anyio.Path(tmp_path).iterdir()]
    report = msgspec.json.decode(await written.read_bytes(), type=ScaleReport)
    assert [(row.call_ms, row.slots) for row in report.calls] == [(0, 2), (100, 2)]
    assert all(row.latency.count > 0 and row.calls_per_s > 0 for row in report.calls)
    idle, timed = report.calls
    assert idle.share is None
    assert timed.ideal_per_s == 40
    assert timed.share == pytest.approx(timed.calls_per_s / 40, abs=0.01)
    assert [row.sessions for row in report.census] == [0, SESSIONS, SESSIONS, SESSIONS]
    assert all(row.kernel.memory_mb > 0 and row.nats_server.descriptors > 0 for row in report.census)
    assert report.census[1].store_mb > report.census[0].store_mb
    assert [row.count for row in report.growth] == [SESSIONS]
    assert [row.what for row in report.restarts] == ["kernel, SIGTERM", "nats-server, SIGKILL"]
    assert written.name in run.stdout.decode().replace("\n", "")
