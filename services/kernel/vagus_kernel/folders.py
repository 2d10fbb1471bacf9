"""Folders below a base, opened one by one, so that no link in a path leads out of it. Blocking.

Tools may change whatever is in a workspace while the kernel writes there: a link, or a pipe that nobody
reads, must cost no more than an error.
"""

import os
from contextlib import suppress
from types import TracebackType
from typing import Final, Self

FOLDER: Final = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_FILE: Final = os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_WRITE: Final = os.O_WRONLY | os.O_CREAT | _FILE
APPEND: Final = os.O_WRONLY | os.O_CREAT | os.O_APPEND | _FILE
READ: Final = os.O_RDONLY | _FILE


class Tree:
    """The folders below one base, each opened once while the block lasts; a missing one is made.

    Everything raises OSError if something on the way is no folder, such as a link to one.
    """

    def __init__(self, base: str) -> None:
        self._base = base
        self._opened: dict[str, int] = {}

    def __enter__(self) -> Self:
        try:
            self._opened[""] = os.open(self._base, FOLDER)
        except FileNotFoundError:
            os.makedirs(self._base, exist_ok=True)  # noqa: PTH103
            self._opened[""] = os.open(self._base, FOLDER)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for folder in self._opened.values():
            os.close(folder)
        self._opened.clear()

    def folder(self, path: str) -> int:
        """The descriptor of a folder, the tree's to close; of few folders, since it stays open."""
        found = self._opened.get(path)
        if found is None:
            above, _, name = path.rpartition("/")
            found = self._opened[path] = subfolder(self.folder(above), name)
        return found


def subfolder(folder: int, name: str) -> int:
    """A descriptor of a folder in `folder`, the caller's to close."""
    try:
        return os.open(name, FOLDER, dir_fd=folder)
    except FileNotFoundError:
        with suppress(FileExistsError):
            os.mkdir(name, dir_fd=folder)
        return os.open(name, FOLDER, dir_fd=folder)


def replace_file(folder: int, name: str, data: bytes) -> None:
    """Write a whole file, to a temporary name first."""
    temporary = temporary_name(name)
    file = os.open(temporary, _WRITE, 0o644, dir_fd=folder)
    try:
        left = memoryview(data)
        while left:
            left = left[os.write(file, left) :]
        os.ftruncate(file, len(data))  # not when opening it: some file systems write out what was truncated
    finally:
        os.close(file)
    os.rename(temporary, name, src_dir_fd=folder, dst_dir_fd=folder)


def temporary_name(name: str) -> str:
    """What a file is called until it is whole."""
    return f".{name}.new"


def holds(folder: int, name: str) -> bool:
    """Whether there is something of this name."""
    try:
        os.stat(name, dir_fd=folder, follow_symlinks=False)
    except FileNotFoundError:
        return False
    return True
