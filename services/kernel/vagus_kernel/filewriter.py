"""Writes the files that follow from logs: in one thread, the latest content of each, many at a time.

To a temporary name and renamed, without fsync. Two things cost a file system far more than the rest, and are
kept rare: to replace a file, which makes some of them wait for its data, and to make a file soon after others
were removed. So a file that changes with every tick is written once a second, or, where there are many, with
a fifth of them a second; and the oldest of a folder's members is not removed but becomes the newest.
"""

import logging
import math
import os
import re
import shutil
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import groupby, islice
from operator import attrgetter
from typing import Final, TypeAlias

import anyio
import msgspec
from anyio.to_thread import run_sync

from vagus.contract import limits
from vagus.contract.json import Json
from vagus_kernel.folders import APPEND, FOLDER, READ, Tree, holds, replace_file, subfolder, temporary_name

_log = logging.getLogger(__name__)

PENDING_FILES: Final = 4096
"""Files waiting to be written; the kernel waits when there are more."""
REPLACED: Final = 8
"""Files replaced in a round, unless there is a hurry or very many wait; of more than five times as many a
fifth."""
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
class Append:
    """One line of a file; written once, whoever asks again."""

    base: str
    path: str
    line: bytes


@dataclass(frozen=True, slots=True)
class Add:
    """A folder's member, a folder with one file."""

    base: str
    path: str
    """Of the folder."""
    name: str
    file: str
    content: Json
    anew: bool = True
    """Whether the file is written if it is there already."""
    keep: int | None = None
    """How many members stay; the oldest make room. None: all."""


FileWork: TypeAlias = Replace | Append | Add


class FileWriter:
    """The files of all sessions of a kernel."""

    def __init__(self) -> None:
        self._replace: dict[tuple[str, str], tuple[int, Replace]] = {}
        """With the number of the first content that waits for it: in this order."""
        self._others: deque[tuple[int, Append | Add]] = deque()
        self._lines: dict[tuple[str, str], set[bytes]] = {}
        self._members: dict[tuple[str, str], deque[str]] = {}
        self._work = anyio.Event()
        self._hurry = anyio.Event()
        self._over = anyio.Event()
        """The round is, this one or the next."""
        self._submitted = 0
        self._in_hand: int | None = None
        """The lowest number of what is being written."""

    @property
    def pending(self) -> int:
        """Files not written yet."""
        return len(self._replace) + len(self._others)

    async def submit(self, work: Iterable[FileWork]) -> None:
        """Have files written soon; waits while too many are pending."""
        for item in work:
            self._submitted += 1
            if isinstance(item, Replace):
                number, _ = self._replace.get((item.base, item.path), (self._submitted, item))
                self._replace[item.base, item.path] = number, item
            else:
                self._others.append((self._submitted, item))
        if self.pending:
            self._work.set()
        if self.pending > PENDING_FILES:
            await self.flushed()

    async def written(self) -> None:
        """Wait until what was submitted is written; not for what is submitted meanwhile."""
        last = self._submitted
        while min(self._oldest(), default=math.inf) <= last:
            await self._over.wait()

    async def flushed(self) -> None:
        """As `written`, but begin to write now."""
        self._hurry.set()
        await self.written()

    async def run(self) -> None:
        """Write until cancelled, and then what is left; a file that cannot be written is logged and left."""
        try:
            while True:
                await self._work.wait()
                with anyio.move_on_after(limits.PROJECTION_S):
                    await self._hurry.wait()
                hurry = self._hurry.is_set() or self.pending > PENDING_FILES // 4
                await self._round(None if hurry else max(REPLACED, len(self._replace) // 5))
        finally:
            with anyio.CancelScope(shield=True):
                await self._round()

    async def _round(self, replaced: int | None = None) -> None:
        """Write what waits; of the files that are replaced only so many, those that have waited longest."""
        self._work, self._hurry = anyio.Event(), anyio.Event()
        self._in_hand = min(self._oldest(), default=None)
        replace = [self._replace.pop(key)[1] for key in list(islice(self._replace, replaced))]
        others, self._others = [item for _, item in self._others], deque()
        if self._replace:
            self._work.set()
        try:
            with anyio.CancelScope(shield=True):
                await run_sync(self._write, [*replace, *_lasting(others)])
        finally:
            self._in_hand = None
            over, self._over = self._over, anyio.Event()
            over.set()

    def _oldest(self) -> Iterator[int]:
        """The lowest numbers of what waits and of what is in hand."""
        yield from (number for number, _ in islice(self._replace.values(), 1))
        yield from (number for number, _ in islice(self._others, 1))
        if self._in_hand is not None:
            yield self._in_hand

    # In the thread ----------------------------------------------------------------------------------------

    def _write(self, work: Iterable[FileWork]) -> None:
        for base, items in groupby(sorted(work, key=attrgetter("base")), attrgetter("base")):
            with _tolerant(base), Tree(base) as tree:
                for item in items:
                    with _tolerant(f"{base}/{item.path}"):
                        self._write_one(tree, item)

    def _write_one(self, tree: Tree, item: FileWork) -> None:
        match item:
            case Replace():
                place, _, name = item.path.rpartition("/")
                replace_file(tree.folder(place), name, encoded(item.content))
            case Append():
                self._append(tree, item)
            case Add():
                self._add(tree, item)

    def _append(self, tree: Tree, item: Append) -> None:
        place, _, name = item.path.rpartition("/")
        folder = tree.folder(place)
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

    def _add(self, tree: Tree, item: Add) -> None:
        folder = tree.folder(item.path)
        if item.keep is not None:
            self._make_room(folder, item, item.keep)
        member = subfolder(folder, item.name)
        try:
            if item.anew or not holds(member, item.file):
                replace_file(member, item.file, encoded(item.content))
        finally:
            os.close(member)

    def _make_room(self, folder: int, item: Add, keep: int) -> None:
        members = self._members.get((item.base, item.path))
        if members is None:
            if len(self._members) >= KNOWN_FOLDERS:
                self._members.clear()
            members = self._members[item.base, item.path] = _by_age(folder)
        if item.name in members:
            return
        if len(members) >= keep:
            _reuse(folder, members.popleft(), item.name, item.file)
        while len(members) >= keep:
            shutil.rmtree(members.popleft(), ignore_errors=True, dir_fd=folder)
        members.append(item.name)


def _lasting(work: Sequence[Append | Add]) -> list[Append | Add]:
    """Without the members that later ones would push out of their folder at once."""
    staying: dict[tuple[str, str], set[str]] = {}
    lasting: list[Append | Add] = []
    for item in reversed(work):
        if isinstance(item, Add) and item.keep is not None:
            names = staying.setdefault((item.base, item.path), set())
            if item.name not in names and len(names) >= item.keep:
                continue
            names.add(item.name)
        lasting.append(item)
    return lasting[::-1]


def _reuse(folder: int, old: str, new: str, file: str) -> None:
    """Turn an old member into an empty new one; one that cannot be is removed."""
    try:
        member = os.open(old, FOLDER, dir_fd=folder)
        try:
            if os.listdir(member) != [file]:  # noqa: PTH208 - of a descriptor
                raise FileExistsError(old)
            os.rename(file, temporary_name(file), src_dir_fd=member, dst_dir_fd=member)
        finally:
            os.close(member)
        os.rename(old, new, src_dir_fd=folder, dst_dir_fd=folder)
    except OSError:
        shutil.rmtree(old, ignore_errors=True, dir_fd=folder)


def encoded(content: Json) -> bytes:
    """A file's content as the original writes it: text as it is, JSON with two spaces and no last newline."""
    if isinstance(content, str):
        return content.encode()
    return msgspec.json.format(msgspec.json.encode(content), indent=2)


@contextmanager
def _tolerant(path: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:
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
