"""Folders below a base, opened one by one, so that no link in a path leads out of it. Blocking.

Tools may change whatever is in a workspace while the kernel writes there: a link, or a pipe that nobody
reads, must cost no more than an error.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Final

_FOLDER: Final = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_FILE: Final = os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
NEW: Final = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | _FILE
APPEND: Final = os.O_WRONLY | os.O_CREAT | os.O_APPEND | _FILE
READ: Final = os.O_RDONLY | _FILE


@contextmanager
def opened(base: str, path: str = "") -> Iterator[int]:
    """A descriptor of the folder `path` below `base`; both are made if they are missing.

    Raises OSError if something on the way is no folder, such as a link to one.
    """
    try:
        folder = os.open(base, _FOLDER)
    except FileNotFoundError:
        os.makedirs(base, exist_ok=True)  # noqa: PTH103
        folder = os.open(base, _FOLDER)
    try:
        for name in filter(None, path.split("/")):
            below = _below(folder, name)
            os.close(folder)
            folder = below
        yield folder
    finally:
        os.close(folder)


def _below(folder: int, name: str) -> int:
    try:
        return os.open(name, _FOLDER, dir_fd=folder)
    except FileNotFoundError:
        with suppress(FileExistsError):
            os.mkdir(name, dir_fd=folder)
        return os.open(name, _FOLDER, dir_fd=folder)


def replace_file(base: str, path: str, data: bytes) -> None:
    """Write a whole file, to a temporary name first."""
    place, _, name = path.rpartition("/")
    temporary = f".{name}.new"
    with opened(base, place) as folder:
        with open(os.open(temporary, NEW, 0o644, dir_fd=folder), "wb", buffering=0) as file:  # noqa: PTH123
            left = memoryview(data)
            while left:
                left = left[file.write(left) :]
        os.rename(temporary, name, src_dir_fd=folder, dst_dir_fd=folder)


def holds(base: str, path: str) -> bool:
    """Whether there is something at `path`."""
    place, _, name = path.rpartition("/")
    with opened(base, place) as folder:
        try:
            os.stat(name, dir_fd=folder, follow_symlinks=False)
        except FileNotFoundError:
            return False
    return True
