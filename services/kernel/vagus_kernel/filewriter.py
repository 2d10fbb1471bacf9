"""Writes the files that follow from logs: in one thread, the latest content of each, many at a time.

To a temporary name and renamed, without fsync. Replacing a file makes some file systems wait for its data, so
a file that changes with every tick is written a few times a second, not every time.
"""

import logging
import os
import re
import shutil
from collections import deque
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final, TypeAlias

import anyio
import msgspec
from anyio.to_thread import run_sync

from vagus.contract.json import Json
from vagus_kernel.folders import APPEND, READ, holds, opened, replace_file

_log = logging.getLogger(__name__)

PENDING_FILES: Final = 4096
"""Files waiting to be written; the kernel waits when there are more."""
PAUSE_S: Final = 0.3
"""Between two rounds of writing."""
TAIL_BYTES: Final = 256 * 1024
"""Of an appended file, read once to find out which lines it has."""
KNOWN_FOLDERS: Final = 1024
"""Folders whose contents are remembered."""
_MADE_HERE: Final = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
"""What a folder's members are called: nothing else in it is ours to remove."""


@dataclass(frozen=True, slots=True)
class Replace:
    """A file's whole content: JSON, or text as it is."""

    base: str
    """The folder that nothing is written outside of."""
    path: str
    """Below it."""
    content: Json


@dataclass(frozen=True, slots=True)
class Restore:
    """A file that is written only if it is missing."""

    base: str
    path: str
    content: Json


@dataclass(frozen=True, slots=True)
class Append:
    """One line of a file; written once, whoever asks again."""

    base: str
    path: str
    line: bytes


@dataclass(frozen=True, slots=True)
class Add:
    """A folder's new member, a folder with one file; the oldest beyond `keep` are removed."""

    base: str
    path: str
    """Of the folder."""
    name: str
    file: str
    content: Json
    keep: int


FileWork: TypeAlias = Replace | Restore | Append | Add


class FileWriter:
    """The files of all sessions of a kernel."""

    def __init__(self) -> None:
        self._replace: dict[tuple[str, str], Replace] = {}
        self._others: deque[Restore | Append | Add] = deque()
        self._lines: dict[tuple[str, str], set[bytes]] = {}
        self._members: dict[tuple[str, str], deque[str]] = {}
        self._work = anyio.Event()
        self._hurry = anyio.Event()
        self._next = anyio.Event()
        self._writing: anyio.Event | None = None

    @property
    def pending(self) -> int:
        """Files not written yet."""
        return len(self._replace) + len(self._others)

    async def submit(self, work: Iterable[FileWork]) -> None:
        """Have files written soon; waits while too many are pending."""
        for item in work:
            if isinstance(item, Replace):
                self._replace[item.base, item.path] = item
            else:
                self._others.append(item)
        if self.pending:
            self._work.set()
        if self.pending > PENDING_FILES:
            await self.flushed()

    async def flushed(self) -> None:
        """Write what was submitted now, and wait until it is written; not for what is submitted meanwhile."""
        round_ = self._next if self.pending else self._writing
        if round_ is not None:
            self._hurry.set()
            await round_.wait()

    async def run(self) -> None:
        """Write until cancelled, and then what is left; a file that cannot be written is logged and left."""
        try:
            while True:
                await self._work.wait()
                with anyio.move_on_after(PAUSE_S):
                    await self._hurry.wait()
                await self._round()
        finally:
            with anyio.CancelScope(shield=True):
                await self._round()

    async def _round(self) -> None:
        self._work, self._hurry = anyio.Event(), anyio.Event()
        self._writing, self._next = self._next, anyio.Event()
        replace, self._replace = self._replace, {}
        others, self._others = self._others, deque()
        try:
            with anyio.CancelScope(shield=True):
                await run_sync(self._write, [*replace.values(), *others])
        finally:
            self._writing.set()
            self._writing = None

    # In the thread ----------------------------------------------------------------------------------------

    def _write(self, work: Iterable[FileWork]) -> None:
        for item in work:
            with _tolerant(item):
                match item:
                    case Replace():
                        replace_file(item.base, item.path, encoded(item.content))
                    case Restore():
                        if not holds(item.base, item.path):
                            replace_file(item.base, item.path, encoded(item.content))
                    case Append():
                        self._append(item)
                    case Add():
                        self._add(item)

    def _append(self, item: Append) -> None:
        place, _, name = item.path.rpartition("/")
        with opened(item.base, place) as folder:
            known = self._lines.get((item.base, item.path))
            if known is None or len(known) > PENDING_FILES:
                if len(self._lines) >= KNOWN_FOLDERS:
                    self._lines.clear()
                known = self._lines[item.base, item.path] = _tail(folder, name)
            if item.line in known:
                return
            with open(os.open(name, APPEND, 0o644, dir_fd=folder), "ab", buffering=0) as file:  # noqa: PTH123
                file.write(item.line + b"\n")
            known.add(item.line)

    def _add(self, item: Add) -> None:
        replace_file(item.base, f"{item.path}/{item.name}/{item.file}", encoded(item.content))
        with opened(item.base, item.path) as folder:
            members = self._members.get((item.base, item.path))
            if members is None:
                if len(self._members) >= KNOWN_FOLDERS:
                    self._members.clear()
                members = self._members[item.base, item.path] = _by_age(folder)
            if item.name not in members:
                members.append(item.name)
            while len(members) > item.keep:
                _remove(folder, members.popleft(), item.file)


def _remove(folder: int, name: str, file: str) -> None:
    """Remove a member with its one file; in the rare case that it holds more, all of it."""
    try:
        member = os.open(name, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=folder)
        try:
            os.unlink(file, dir_fd=member)
        finally:
            os.close(member)
        os.rmdir(name, dir_fd=folder)
    except OSError:
        shutil.rmtree(name, ignore_errors=True, dir_fd=folder)


def encoded(content: Json) -> bytes:
    """A file's content as the original writes it: text as it is, JSON with two spaces and no last newline."""
    if isinstance(content, str):
        return content.encode()
    return msgspec.json.format(msgspec.json.encode(content), indent=2)


@contextmanager
def _tolerant(item: FileWork) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        path = f"{item.base}/{item.path}"
        _log.warning("cannot write %s: %s; it is rebuilt from the log later", path, error.strerror)


def _tail(folder: int, name: str) -> set[bytes]:
    try:
        descriptor = os.open(name, READ, dir_fd=folder)
    except FileNotFoundError:
        return set()
    with open(descriptor, "rb") as file:  # noqa: PTH123
        file.seek(max(0, file.seek(0, os.SEEK_END) - TAIL_BYTES))
        return set(file.read().splitlines())


def _by_age(folder: int) -> deque[str]:
    with os.scandir(folder) as entries:
        found = sorted(
            (entry.stat(follow_symlinks=False).st_mtime_ns, entry.name)
            for entry in entries
            if _MADE_HERE.fullmatch(entry.name) and entry.is_dir(follow_symlinks=False)
        )
    return deque(name for _, name in found)
