"""Nothing in the repository tells of the machine that it was written on."""

import re
from pathlib import Path

import pytest

from tests.architecture.sources import tracked

HOMES = r"home|Users|root(?=/\.\w)|work|workspaces?"
MACHINE = re.compile(
    rf"(?<![\w.<>{{}}()/-])/(?:{HOMES})/[\w.-]+|[A-Za-z]:\\Users\\|(?<![\w/])/tmp/(?:venv|plan|[a-z]+\.\d)"
)
"""An absolute path into somebody's home or checkout. `<store>/root/…` and links are none."""


def machine_paths(path: Path) -> list[str]:
    """Lines of a text that name such a path."""
    data = path.read_bytes()
    if b"\0" in data[:8192]:
        return []
    lines = data.decode(errors="replace").splitlines()
    return [
        f"{path}:{number}: {line.strip()[:120]}"
        for number, line in enumerate(lines, 1)
        if MACHINE.search(line)
    ]


def test_no_text_names_a_path_of_a_machine() -> None:
    assert [line for path in tracked() for line in machine_paths(path)] == []


@pytest.mark.parametrize(
    "parts", [("home", "ann", "vagus"), ("Users", "ann"), ("work", "main"), ("root", ".venv")]
)
def test_a_path_of_a_machine_is_found(tmp_path: Path, parts: tuple[str, ...]) -> None:
    sample = tmp_path / "notes.md"
    sample.write_text("first\nrun `" + "/".join(("", *parts)) + "/bin/x`\n")
    assert machine_paths(sample) == [f"{sample}:2: run `/{'/'.join(parts)}/bin/x`"]


@pytest.mark.parametrize(
    "text", ["<store>/root/sessions", "https://example.org/home/x", "fs:write:/session/a", "/work"]
)
def test_other_paths_are_left_alone(tmp_path: Path, text: str) -> None:
    sample = tmp_path / "notes.md"
    sample.write_text(text)
    assert machine_paths(sample) == []
