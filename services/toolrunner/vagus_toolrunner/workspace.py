"""One session's folder, and the only way in which the file tools touch it.

A path is walked name by name from the folder's own descriptor, and no link is followed anywhere below it.
So neither `..`, nor an absolute path, nor a symbolic link, nor a folder that is exchanged for a link between
check and use leads out: there is no check apart from the use.
"""

import errno
import hashlib
import os
import secrets
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

from vagus.contract.errors import HarnessError
from vagus.contract.paths import workspace_parts

_FOLDER: Final = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_READ: Final = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
"""Without blocking, for a named pipe in the workspace would stop the reader for ever."""
_CREATE: Final = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC

DELETED: Final = "deleted"
"""Stands for the content hash of a file that is not there."""


class Workspace:
    """The folder of one session. Made on first use; every method blocks, so call it in a thread.

    All methods raise HarnessError for a path that leads out of it, and OSError as the system does.
    """

    def __init__(self, root: Path) -> None:
        self.root = root

    def ensure(self) -> None:
        """Make the folder if it is not there yet: the kernel makes it too, but not before the first call."""
        if not os.path.isdir(self.root):  # noqa: PTH112 -- a third of the time, on every call's path
            self.root.mkdir(parents=True, exist_ok=True)

    def read(self, path: str, limit: int) -> bytes:
        """The content of the regular file at `path`; HarnessError if it is longer than `limit` bytes."""
        with self._opened(path) as file:
            size = os.fstat(file).st_size
            content = b"" if size > limit else _read_up_to(file, limit + 1)
        if max(size, len(content)) > limit:
            raise HarnessError(f"file too large: {path} has {size} bytes, at most {limit} can be read")
        return content

    def write(self, path: str, content: bytes) -> None:
        """Replace the file at `path` by `content`, making the folders above it.

        Readers see the old content or the new, never a part; after a power failure too. An existing file's
        permissions stay.
        """
        with self._parent(path, create=True) as (folder, name):
            mode = _replaceable(folder, name, path)
            draft = f".{secrets.token_hex(8)}.tmp"
            file = os.open(draft, _CREATE, 0o666, dir_fd=folder)
            try:
                try:
                    _write_all(file, content)
                    if mode is not None:
                        os.fchmod(file, mode)
                    os.fsync(file)
                finally:
                    os.close(file)
                os.rename(draft, name, src_dir_fd=folder, dst_dir_fd=folder)
            except BaseException:
                with suppress(OSError):
                    os.unlink(draft, dir_fd=folder)
                raise

    def digest(self, path: str) -> str | None:
        """SHA-256 hex of the file at `path`, read in pieces; `deleted` if there is none, None if a folder."""
        try:
            with self._opened(path) as file, os.fdopen(file, "rb", closefd=False) as stream:
                return hashlib.file_digest(stream, "sha256").hexdigest()
        except (FileNotFoundError, NotADirectoryError):
            return DELETED
        except IsADirectoryError:
            return None

    # Walking ----------------------------------------------------------------------------------------------

    @contextmanager
    def _opened(self, path: str) -> Iterator[int]:
        """The regular file at `path`, open for reading."""
        with self._parent(path) as (folder, name):
            try:
                file = os.open(name, _READ, dir_fd=folder)
            except OSError as error:
                raise _explained(error, folder, name, path) from error
        try:
            kind = os.fstat(file).st_mode
            if stat.S_ISDIR(kind):
                raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), path)
            if not stat.S_ISREG(kind):
                raise HarnessError(f"not a regular file: {path}")
            yield file
        finally:
            os.close(file)

    @contextmanager
    def _parent(self, path: str, *, create: bool = False) -> Iterator[tuple[int, str]]:
        """The folder that holds `path`, open, and the last name."""
        parts = workspace_parts(path)
        if parts is None:
            raise _escapes(path)
        if not parts:
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), path)
        folder = os.open(self.root, _FOLDER)
        try:
            for name in parts[:-1]:
                inner = _enter(folder, name, path, create=create)
                os.close(folder)
                folder = inner
            yield folder, parts[-1]
        finally:
            os.close(folder)


def _enter(folder: int, name: str, path: str, *, create: bool) -> int:
    if create:
        with suppress(FileExistsError):
            os.mkdir(name, dir_fd=folder)
    try:
        return os.open(name, _FOLDER, dir_fd=folder)
    except OSError as error:
        raise _explained(error, folder, name, path) from error


def _replaceable(folder: int, name: str, path: str) -> int | None:
    """The permissions of the regular file that a write replaces; None if there is none."""
    try:
        found = os.stat(name, dir_fd=folder, follow_symlinks=False)
    except FileNotFoundError:
        return None
    if stat.S_ISLNK(found.st_mode):
        raise _escapes(path, "a symbolic link")
    if stat.S_ISDIR(found.st_mode):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), path)
    if not stat.S_ISREG(found.st_mode):
        raise HarnessError(f"not a regular file: {path}")
    return stat.S_IMODE(found.st_mode)


def _explained(error: OSError, folder: int, name: str, path: str) -> Exception:
    """`error`, or that `name` is a link: systems say so as ELOOP, ENOTDIR or EMLINK."""
    try:
        linked = stat.S_ISLNK(os.stat(name, dir_fd=folder, follow_symlinks=False).st_mode)
    except OSError:
        linked = error.errno == errno.ELOOP
    return _escapes(path, "a symbolic link") if linked else error


def _escapes(path: str, how: str = "") -> HarnessError:
    return HarnessError(f"runtime error: path escapes workspace root: {path}" + (f" ({how})" if how else ""))


def _read_up_to(file: int, size: int) -> bytes:
    pieces: list[bytes] = []
    while size > 0 and (piece := os.read(file, size)):
        pieces.append(piece)
        size -= len(piece)
    return b"".join(pieces)


def _write_all(file: int, content: bytes) -> None:
    rest = memoryview(content)
    while rest:
        rest = rest[os.write(file, rest) :]
