"""A chaos run, as short as can be: the long one is `make chaos`."""

import json
import subprocess
import sys
from pathlib import Path

import chaos

SEED = 211
TICKS, FAULTS = 45, 13
PATIENCE_S = 600.0
"""Of a slow machine."""


def test_whatever_fails_meanwhile_every_promise_is_kept(tmp_path: Path) -> None:
    """All that it takes to begin again, should this fail, is in the folder that is named."""
    command = [sys.executable, "-m", "chaos", "--seed", SEED, "--ticks", TICKS, "--faults", FAULTS]
    options = ["--folder", tmp_path, "--keep", "--minutes", PATIENCE_S / 60 - 1]
    done = subprocess.run(
        [str(part) for part in (*command, *options)],
        check=False,
        cwd=Path(chaos.__file__).parents[1],
        stderr=subprocess.STDOUT,
        stdout=subprocess.PIPE,
        text=True,
        timeout=PATIENCE_S,
    )
    assert done.returncode == 0, done.stdout
    [folder] = tmp_path.iterdir()
    outcome = json.loads((folder / "outcome.json").read_bytes())
    assert outcome["problems"] == []
    assert outcome["check"]["violations"] == []
    counts = outcome["check"]["counts"]
    assert counts["ticks"] + counts["erased_ticks"] >= TICKS
    assert counts["relayed"] == counts["events"] > 0
    assert counts["erased"] == outcome["commands"]["erase"] > 0
    assert any(name.startswith("archive") for name in outcome["commands"])  # it may be refused each time
    assert sum(outcome["struck"].values()) == FAULTS
    assert len(outcome["struck"]) >= 12
