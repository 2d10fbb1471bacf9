"""Writes the files that follow from logs: in one thread, the latest content of each, many at a time.

To a temporary name and renamed, without fsync. Replacing a file makes some file systems wait for its data, so
a file that changes with every tick is written a few times a second, not every time.
"""

import logging
import os
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

_log = logging.getLogger(__name__)

PENDING_FILES: Final = 4096
"""Files waiting to be written; the kernel waits when there are more."""
PAUSE_S: Final = 0.3
"""Between two rounds of writing."""
TAIL_BYTES: Final = 256 * 1024
"""Of an appended file, read once to find out which lines it has."""
KNOWN_FOLDERS: Final = 1024
"""Folders whose contents are remembered."""


@dataclass(frozen=True, slots=True)
class Replace:
    """A file's whole content: JSON, or text as it is."""

    path: str
    content: Json


@dataclass(frozen=True, slots=True)
class Append:
    """One line of a file; written once, whoever asks again."""

    path: str
    line: bytes


@dataclass(frozen=True, slots=True)
class Add:
    """A folder's new member, a folder with one file; the oldest beyond `keep` are removed."""

    folder: str
    name: str
    file: str
    content: Json
    keep: int


FileWork: TypeAlias = Replace | Append | Add


class FileWriter:
    """The files of all sessions of a kernel."""

    def __init__(self) -> None:
        self._replace: dict[str, Json] = {}
        self._others: deque[Append | Add] = deque()
        self._lines: dict[str, set[bytes]] = {}
        self._members: dict[str, deque[str]] = {}
        self._work = anyio.Event()
        self._hurry = anyio.Event()
        self._idle = anyio.Event()
        self._idle.set()

    @property
    def pending(self) -> int:
        """Files not written yet."""
        return len(self._replace) + len(self._others)

    async def submit(self, work: Iterable[FileWork]) -> None:
        """Have files written soon; waits while too many are pending."""
        for item in work:
            if isinstance(item, Replace):
                self._replace[item.path] = item.content
            else:
                self._others.append(item)
        if self.pending:
            self._work.set()
            if self._idle.is_set():
                self._idle = anyio.Event()
        if self.pending > PENDING_FILES:
            await self.flushed()

    async def flushed(self) -> None:
        """Write what was submitted now, and wait until it is written."""
        self._hurry.set()
        await self._idle.wait()

    async def run(self) -> None:
        """Write until cancelled; a file that cannot be written is logged and left."""
        while True:
            await self._work.wait()
            with anyio.move_on_after(PAUSE_S):
                await self._hurry.wait()
            self._work, self._hurry = anyio.Event(), anyio.Event()
            replace, self._replace = self._replace, {}
            others, self._others = self._others, deque()
            await run_sync(self._write, replace, others)
            if self.pending:
                self._work.set()
            else:
                self._idle.set()

    # In the thread ----------------------------------------------------------------------------------------

    def _write(self, replace: dict[str, Json], others: deque[Append | Add]) -> None:
        for path, content in replace.items():
            with _tolerant(path):
                replace_file(path, content)
        for item in others:
            with _tolerant(item.path if isinstance(item, Append) else item.folder):
                if isinstance(item, Append):
                    self._append(item)
                else:
                    self._add(item)

    def _append(self, item: Append) -> None:
        known = self._lines.get(item.path)
        if known is None or len(known) > PENDING_FILES:
            if len(self._lines) >= KNOWN_FOLDERS:
                self._lines.clear()
            known = self._lines[item.path] = _tail(item.path)
        if item.line in known:
            return
        with open(item.path, "ab", buffering=0) as file:  # noqa: PTH123 - many times a second
            file.write(item.line + b"\n")
        known.add(item.line)

    def _add(self, item: Add) -> None:
        members = self._members.get(item.folder)
        if members is None:
            if len(self._members) >= KNOWN_FOLDERS:
                self._members.clear()
            members = self._members[item.folder] = _by_age(item.folder)
        if item.name not in members:
            members.append(item.name)
        replace_file(f"{item.folder}/{item.name}/{item.file}", item.content)
        while len(members) > item.keep:
            shutil.rmtree(f"{item.folder}/{members.popleft()}", ignore_errors=True)


def replace_file(path: str, content: Json) -> None:
    """Write a whole file; its folder is made if it is missing. Blocking."""
    data = content.encode() if isinstance(content, str) else pretty(content)
    folder, _, name = path.rpartition("/")
    temporary = f"{folder}/.{name}.new"
    flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC
    try:
        descriptor = os.open(temporary, flags, 0o644)
    except FileNotFoundError:
        os.makedirs(folder, exist_ok=True)  # noqa: PTH103
        descriptor = os.open(temporary, flags, 0o644)
    try:
        os.write(descriptor, data)
    finally:
        os.close(descriptor)
    os.rename(temporary, path)  # noqa: PTH104


def pretty(value: Json) -> bytes:
    """JSON as the original writes files: two spaces, no newline at the end."""
    return msgspec.json.format(msgspec.json.encode(value), indent=2)


@contextmanager
def _tolerant(path: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        _log.warning("cannot write %s: %s; it is rebuilt from the log later", path, error.strerror)


def _tail(path: str) -> set[bytes]:
    try:
        with open(path, "rb") as file:  # noqa: PTH123
            file.seek(max(0, file.seek(0, os.SEEK_END) - TAIL_BYTES))
            return set(file.read().splitlines())
    except FileNotFoundError:
        os.makedirs(path.rpartition("/")[0], exist_ok=True)  # noqa: PTH103
        return set()


def _by_age(folder: str) -> deque[str]:
    try:
        with os.scandir(folder) as entries:
            found = sorted((entry.stat().st_mtime_ns, entry.name) for entry in entries if entry.is_dir())
    except FileNotFoundError:
        return deque()
    return deque(name for _, name in found)
