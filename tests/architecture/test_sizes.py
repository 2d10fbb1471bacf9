"""Files stay small enough to be read in one go."""

from pathlib import Path

from tests.architecture.sources import ROOT, tracked

MOST_LINES = 500
"""A bound for what has grown out of hand; most files are to have 60 to 250."""
MOST_TEST_LINES = 600
"""Tests are read one at a time."""


def too_long(files: list[Path]) -> list[str]:
    """Python files over the bound."""
    lengths = {path: len(path.read_text().splitlines()) for path in files if path.suffix == ".py"}
    return [f"{path}: {lines} lines" for path, lines in lengths.items() if lines > most(path)]


def most(path: Path) -> int:
    """The bound for a file."""
    return MOST_TEST_LINES if path.is_relative_to(ROOT / "tests") else MOST_LINES


def test_no_file_is_too_long() -> None:
    assert too_long(tracked()) == []
    assert ROOT / "shared/vagus/__init__.py" in tracked()


def test_a_file_that_is_too_long_is_found(tmp_path: Path) -> None:
    long, short = tmp_path / "long.py", tmp_path / "short.py"
    long.write_text("pass\n" * (MOST_LINES + 1))
    short.write_text("pass\n" * MOST_LINES)
    assert too_long([long, short]) == [f"{long}: {MOST_LINES + 1} lines"]
