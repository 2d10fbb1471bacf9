"""The README's commands print what it says, apart from times, ports, pids, paths and digests."""

import os
import re
import shlex
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.kit import documents

WAITS_S = 60
VARIES = [
    (r"^export VAGUS_SERVER=.*\n", ""),  # said only where the port is not the default one
    (r"\d{4}-\d\d-\d\dT[\d:.]+Z", "TIME"),
    (r"ready in [\d.]+ s", "ready in N s"),
    (r"\b\d+ ms\b", "N ms"),
    (r"pid \d+", "pid N"),
    (r"in \d+ commits", "in N commits"),  # one more if a tool takes half a second to start
    (r"nats://127\.0\.0\.1:\d+", "URL"),
    (r"blake3:[0-9a-f]{64}", "DIGEST"),
    (r"(?<= )/\S+(?=/\.vagus)", "FOLDER"),
    (r"[ \t]+", " "),
    (r" +$", ""),
]


def normal(text: str) -> list[str]:
    for pattern, shown in VARIES:
        text = re.sub(pattern, shown, text, flags=re.MULTILINE)
    return text.strip().splitlines()


def told() -> list[tuple[str, str]]:
    """The commands of the README with what it says they print."""
    text = "".join(block.text for block in documents.blocks("README.md", "console"))
    _, *parts = re.split(r"^\$ (.*)\n", text, flags=re.MULTILINE)
    return list(zip(parts[::2], parts[1::2], strict=True))


@pytest.fixture
def environ(tmp_path: Path) -> dict[str, str]:
    ours = {name: value for name, value in os.environ.items() if not name.startswith("VAGUS_")}
    return ours | {"COLUMNS": "120", "LOGNAME": "ada", "PYTHONUNBUFFERED": "1"}


def vagus(command: str) -> list[str]:
    program, *arguments = shlex.split(command)
    assert program == "vagus"
    return [sys.executable, "-c", "from vagus.cli import main; main()", *arguments]


@pytest.fixture
def up(environ: dict[str, str], tmp_path: Path) -> Iterator[str]:
    """What `vagus up` prints, while it runs; on any free port."""
    command = vagus("vagus up --port 0")
    with subprocess.Popen(
        command, cwd=tmp_path, env=environ, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        printed: list[str] = []
        for line in process.stdout:
            printed.append(line)
            if line.startswith("Ctrl-C"):
                break
        yield "".join(printed)
        process.send_signal(signal.SIGINT)
        _, said = process.communicate(timeout=WAITS_S)
    assert process.returncode in (0, 130), said
    assert "stopped" in said


def test_the_commands_of_the_readme_print_what_it_says(
    up: str, environ: dict[str, str], tmp_path: Path
) -> None:
    (first, says), *others = told()
    assert first == "vagus up"
    assert len(others) == 4
    assert normal(up) == normal(says)
    url = next(word for word in up.split() if word.startswith("nats://"))
    for command, says in others:
        ended = subprocess.run(
            vagus(command),
            cwd=tmp_path,
            env=environ | {"VAGUS_SERVER": url},
            capture_output=True,
            check=False,
            text=True,
            timeout=WAITS_S,
        )
        assert ended.returncode == 0, ended.stderr
        assert normal(ended.stdout) == normal(says), command
