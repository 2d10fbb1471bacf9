"""The program of the examples runs, as its own first line says."""

import os
import subprocess
import sys
from pathlib import Path

from tests.kit import documents


def test_the_example_program_runs_to_its_end(tmp_path: Path) -> None:
    ours = {name: value for name, value in os.environ.items() if not name.startswith("VAGUS_")}
    command = [sys.executable, str(documents.ROOT / "examples" / "session.py")]
    ended = subprocess.run(
        command, cwd=tmp_path, env=ours, capture_output=True, check=False, text=True, timeout=90
    )
    assert ended.returncode == 0, ended.stderr
    assert ended.stdout.splitlines() == [
        "note: ok",
        "answer: The note has five words.",
        "outside: capabilities denied: fs:write:/session/../elsewhere.txt",
        "letter: awaiting_approval",
        "letter: approved, and written",
        "merged: draft into main",
        "log: whole, 2 branches",
    ]
    assert list(tmp_path.iterdir()) == []
