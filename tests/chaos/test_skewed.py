"""A process whose clock is set by somebody else."""

import subprocess
import sys
import time
from pathlib import Path

import pytest

import chaos
from chaos.skewed import CLOCK, set_clock

TELLS = """\
import sys, time
from vagus.runtime import clock
for line in sys.stdin:
    print(round(time.time()), clock.now_ns() // 1_000_000_000, round(time.monotonic()), flush=True)
"""


def test_a_clock_is_set_while_the_process_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file, module = tmp_path / "clock", tmp_path / "tells.py"
    module.write_text(TELLS)
    root = Path(chaos.__file__).parents[1]
    set_clock(file, 0.0)
    monkeypatch.setenv(CLOCK, str(file))
    monkeypatch.setenv("PYTHONPATH", f"{tmp_path}:{root}:{root / 'shared'}")
    process = subprocess.Popen(
        [sys.executable, "-m", "chaos.skewed", "tells"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    with process:
        assert process.stdin is not None
        assert process.stdout is not None
        for ahead_s in (0, 5000, -5000):
            set_clock(file, ahead_s)
            process.stdin.write("?\n")
            process.stdin.flush()
            told, of_clock, monotonic = map(int, process.stdout.readline().split())
            assert abs(told - time.time() - ahead_s) < 1000
            assert abs(of_clock - time.time() - ahead_s) < 1000
            assert abs(monotonic - time.monotonic()) < 1000
        process.stdin.close()
    assert process.returncode == 0
