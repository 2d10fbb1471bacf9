"""Whatever a path looks like: the gate and the runner mean the same file, and it lies in the workspace."""

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vagus.contract.errors import HarnessError
from vagus.contract.paths import workspace_parts
from vagus_policygate.capabilities import workspace_path
from vagus_toolrunner.workspace import Workspace

NAMES = st.sampled_from(
    [
        "",
        ".",
        "..",
        "a",
        "b",
        "door",
        "file",
        "...",
        " ",
        "ä",
        "\0",
        "~",
        "a\\b",
        "%2e%2e",
        "x" * 255,
        "x" * 256,
    ]
) | st.text(max_size=3)
PATHS = st.lists(NAMES, max_size=8).map("/".join)


@pytest.fixture(scope="module")
def base() -> Iterator[Path]:
    folder = Path(tempfile.mkdtemp())
    yield folder
    shutil.rmtree(folder)


def fresh(base: Path) -> tuple[Workspace, Path]:
    """A workspace with two ways out of it, and what must stay as it is."""
    shutil.rmtree(base)
    outside = base / "outside"
    outside.mkdir(parents=True)
    (outside / "file").write_text("secret")
    workspace = Workspace(base / "sessions" / "s")
    workspace.ensure()
    (workspace.root / "door").symlink_to(outside)
    (workspace.root / "a").mkdir()
    (workspace.root / "a" / "file").symlink_to("../../../outside/file")
    return workspace, outside


@given(path=PATHS)
def test_a_write_lands_where_the_gate_was_told_or_nowhere(base: Path, path: str) -> None:
    workspace, outside = fresh(base)
    told = workspace_path(path)
    try:
        workspace.write(path, b"x")
    except (HarnessError, OSError):
        written = None
    else:
        parts = workspace_parts(path)
        assert parts is not None
        written = workspace.root.joinpath(*parts)
        assert written.read_bytes() == b"x"
        assert written.resolve().is_relative_to(workspace.root.resolve())
    if written is not None and ".." not in told.split("/"):
        assert told == "/session/" + str(written.relative_to(workspace.root))
    assert [entry.name for entry in outside.iterdir()] == ["file"]
    assert (outside / "file").read_text() == "secret"
    assert sorted(entry.name for entry in base.iterdir()) == ["outside", "sessions"]


@given(path=PATHS)
def test_a_read_never_gives_what_lies_outside(base: Path, path: str) -> None:
    workspace, _ = fresh(base)
    try:
        assert workspace.read(path, 100) != b"secret"
    except (HarnessError, OSError):
        return
