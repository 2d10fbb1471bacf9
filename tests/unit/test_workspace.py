import os
import shutil
import threading
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from vagus.contract.errors import HarnessError
from vagus_toolrunner.workspace import DELETED, Workspace

SHA_OF_HELLO = "2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824"


@pytest.fixture
def outside(tmp_path: Path) -> Path:
    """A folder next to the workspace, with a secret in it that must stay unread and unchanged."""
    folder = tmp_path / "outside"
    folder.mkdir()
    (folder / "secret").write_text("secret")
    return folder


@pytest.fixture
def workspace(tmp_path: Path, outside: Path) -> Iterator[Workspace]:
    made = Workspace(tmp_path / "sessions" / "s")
    made.ensure()
    yield made
    assert [entry.name for entry in outside.iterdir()] == ["secret"]
    assert (outside / "secret").read_text() == "secret"


def _open_descriptors() -> int:
    return len(list(Path("/dev/fd").iterdir()))


def _no_drafts(workspace: Workspace) -> bool:
    return not [name for _, _, names in os.walk(workspace.root) for name in names if name.endswith(".tmp")]


def test_what_is_written_is_read_back_and_hashed(workspace: Workspace) -> None:
    workspace.write("/a/b/c.txt", b"hello")
    assert (workspace.root / "a/b/c.txt").read_bytes() == b"hello"
    assert workspace.read("a/b/c.txt", 5) == b"hello"
    assert workspace.digest("a//b/./c.txt") == SHA_OF_HELLO
    assert _no_drafts(workspace)


def test_a_write_replaces_and_keeps_the_permissions(workspace: Workspace) -> None:
    workspace.write("run", b"old, and longer")
    (workspace.root / "run").chmod(0o750)
    workspace.write("run", b"new")
    assert workspace.read("run", 100) == b"new"
    assert (workspace.root / "run").stat().st_mode & 0o777 == 0o750


@pytest.mark.parametrize(
    "path",
    [
        "..",
        "../outside/secret",
        "a/../../outside/secret",
        "/../outside/secret",
        "a/b/../../../outside/secret",
    ],
)
def test_dots_do_not_lead_out(workspace: Workspace, path: str) -> None:
    for act in (
        lambda: workspace.write(path, b"x"),
        lambda: workspace.read(path, 9),
        lambda: workspace.digest(path),
    ):
        with pytest.raises(HarnessError, match=r"^runtime error: path escapes workspace root: "):
            act()


def test_an_absolute_path_is_taken_from_the_workspace(workspace: Workspace, outside: Path) -> None:
    workspace.write(str(outside / "secret"), b"mine")
    assert workspace.read(str(outside / "secret"), 9) == b"mine"


def test_a_link_as_the_last_name_is_not_followed(workspace: Workspace, outside: Path) -> None:
    (workspace.root / "link").symlink_to(outside / "secret")
    (workspace.root / "dangling").symlink_to(outside / "new")
    for path in ("link", "dangling"):
        for act in (
            lambda path=path: workspace.write(path, b"x"),
            lambda path=path: workspace.read(path, 9),
            lambda path=path: workspace.digest(path),
        ):
            with pytest.raises(HarnessError, match=r"escapes workspace root: \w+ \(a symbolic link\)"):
                act()


def test_a_link_as_a_folder_is_not_followed(workspace: Workspace, outside: Path) -> None:
    (workspace.root / "door").symlink_to(outside)
    (workspace.root / "a").mkdir()
    (workspace.root / "a" / "door").symlink_to("../door")
    for path in ("door/secret", "door/new", "a/door/secret", "door/deep/new"):
        with pytest.raises(HarnessError, match="a symbolic link"):
            workspace.write(path, b"x")
        with pytest.raises(HarnessError, match="a symbolic link"):
            workspace.read(path, 9)
        with pytest.raises(HarnessError, match="a symbolic link"):
            workspace.digest(path)


def test_a_workspace_that_is_itself_a_link_is_refused(tmp_path: Path, outside: Path) -> None:
    (tmp_path / "sessions").mkdir()
    (tmp_path / "sessions" / "s").symlink_to(outside)
    with pytest.raises(OSError, match=r"symbolic|Not a directory"):
        Workspace(tmp_path / "sessions" / "s").read("secret", 9)


def test_a_folder_exchanged_for_a_link_meanwhile_does_not_lead_out(
    workspace: Workspace, outside: Path
) -> None:
    folder, aside, link = (workspace.root / name for name in ("a", "aside", "link"))
    stop = threading.Event()

    def exchange() -> None:
        while not stop.is_set():
            shutil.rmtree(aside, ignore_errors=True)
            for step in (
                lambda: folder.rename(aside),
                lambda: link.symlink_to(outside),
                lambda: link.rename(folder),
                lambda: folder.unlink(),
                lambda: aside.rename(folder),
            ):
                with suppress(OSError):  # the writer makes the folder again when it is missing
                    step()

    attacker = threading.Thread(target=exchange)
    attacker.start()
    written = refused = 0
    try:
        for number in range(2000):
            try:
                workspace.write(f"a/{number % 7}", b"x")
                written += 1
            except (HarnessError, OSError):
                refused += 1
            try:
                assert workspace.read("a/secret", 9) != b"secret"
            except (HarnessError, OSError):
                refused += 1
    finally:
        stop.set()
        attacker.join()
    assert written
    assert refused


def test_a_missing_parent_is_made_inside_only(workspace: Workspace, tmp_path: Path) -> None:
    with pytest.raises(HarnessError, match="escapes"):
        workspace.write("../../x/new/f", b"x")
    assert not (tmp_path / "x").exists()
    workspace.write("x/new/f", b"x")
    assert workspace.read("x/new/f", 9) == b"x"


def test_folders_pipes_and_files_as_folders_are_told_apart(workspace: Workspace) -> None:
    workspace.write("file", b"x")
    (workspace.root / "folder").mkdir()
    os.mkfifo(workspace.root / "pipe")
    for path in ("folder", "", "/", "."):
        with pytest.raises(IsADirectoryError):
            workspace.read(path, 9)
        with pytest.raises(IsADirectoryError):
            workspace.write(path, b"x")
        assert workspace.digest(path) is None
    with pytest.raises(HarnessError, match="not a regular file: pipe"):
        workspace.read("pipe", 9)
    with pytest.raises(HarnessError, match="not a regular file: pipe"):
        workspace.write("pipe", b"x")
    with pytest.raises(NotADirectoryError):
        workspace.write("file/below", b"x")
    assert workspace.digest("file/below") == DELETED
    assert workspace.digest("missing") == DELETED
    assert workspace.digest("missing/below") == DELETED


def test_a_file_over_the_limit_is_refused_and_one_at_it_is_read(workspace: Workspace) -> None:
    workspace.write("big", b"x" * 1000)
    assert len(workspace.read("big", 1000)) == 1000
    with pytest.raises(HarnessError, match="file too large: big has 1000 bytes, at most 999"):
        workspace.read("big", 999)


def test_a_write_that_fails_leaves_nothing_behind(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    workspace.write("kept", b"old")

    def full(file: int, content: bytes) -> int:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "write", full)
    with pytest.raises(OSError, match="No space"):
        workspace.write("kept", b"new")
    monkeypatch.undo()
    assert workspace.read("kept", 9) == b"old"
    assert _no_drafts(workspace)


@pytest.mark.parametrize("path", ["a\0b", "\ud800"])
def test_what_is_no_path_is_refused(workspace: Workspace, path: str) -> None:
    with pytest.raises(HarnessError, match="escapes"):
        workspace.read(path, 9)


def test_a_name_that_is_too_long_is_the_systems_to_refuse(workspace: Workspace) -> None:
    with pytest.raises(OSError, match="too long"):
        workspace.write("x" * 300, b"x")
    assert _no_drafts(workspace)


def test_no_descriptor_is_left_open(workspace: Workspace, outside: Path) -> None:
    (workspace.root / "link").symlink_to(outside)
    workspace.write("a/b", b"x")
    before = _open_descriptors()
    for path in ("a/b", "a", "link/x", "missing/x", "..", "a/b/c"):
        for act in (
            workspace.digest,
            lambda path: workspace.read(path, 9),
            lambda path: workspace.write(path, b"x"),
        ):
            try:
                act(path)
            except (HarnessError, OSError):
                continue
    assert _open_descriptors() == before
