"""A folder of files that grow and are finished, and the memory of which events are in them.

    <folder>/day=2026-11-23/20261123T101500Z-000042.ndjson      finished: never changed again
    <folder>/.vagus/000043.lines                                grows, with every batch synced to the disk
    <folder>/.vagus/journal.sqlite                              what they hold, and each branch's last event;
                                                             and those that were dead letters, one by one

A batch counts when the journal has committed it. What a growing file holds beyond the length that the journal
knows was cut off by a crash, and is overwritten. An event that the journal knows is not written again.
"""

import fcntl
import os
import sqlite3
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

import msgspec

from vagus.contract.errors import SettingsError

_TABLES: Final = """
CREATE TABLE IF NOT EXISTS files (
    id INTEGER PRIMARY KEY AUTOINCREMENT, day TEXT NOT NULL, opened_at REAL NOT NULL,
    bytes INTEGER NOT NULL, closed INTEGER NOT NULL DEFAULT 0
);
CREATE TABLE IF NOT EXISTS written (
    session TEXT NOT NULL, branch TEXT NOT NULL, agent TEXT NOT NULL, sequence INTEGER NOT NULL,
    PRIMARY KEY (session, branch, agent)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS retried (
    session TEXT NOT NULL, branch TEXT NOT NULL, agent TEXT NOT NULL, sequence INTEGER NOT NULL,
    PRIMARY KEY (session, branch, agent, sequence)
) WITHOUT ROWID;
"""
_WRITTEN: Final = (
    "INSERT INTO written VALUES (?, ?, ?, ?) ON CONFLICT DO UPDATE"
    " SET sequence = excluded.sequence WHERE sequence < excluded.sequence"
)
_RETRIED: Final = "INSERT INTO retried VALUES (?, ?, ?, ?) ON CONFLICT DO NOTHING"


class Entry(msgspec.Struct, frozen=True):
    """One event for the spool."""

    day: str
    """Such as `2026-11-23`; becomes a folder's name."""
    session: str
    branch: str
    agent: str
    """Another one when a session was made again under the same id."""
    sequence: int
    line: bytes
    """Without its newline."""
    retried: bool = False
    """It was a dead letter: later ones of its branch may be written already."""


class _File(msgspec.Struct, frozen=True):
    id: int
    day: str
    opened_at: float
    size: int


class Spool:
    """One folder; nobody else writes into it. Not safe for threads: one call at a time.

    Args:
        folder: Made if it is not there.
        finish: Makes the finished file of a grown one, atomically; may be called again for the same two.
        suffix: Of finished files, such as `.ndjson`.
        roll_bytes: A file so large is finished.
        roll_s: A file so old is finished.
        now: Seconds since the epoch.
    """

    def __init__(
        self,
        folder: Path,
        *,
        finish: Callable[[Path, Path], None],
        suffix: str,
        roll_bytes: int,
        roll_s: float,
        now: Callable[[], float] = time.time,
    ) -> None:
        self._folder = folder
        self._finish = finish
        self._suffix = suffix
        self._roll_bytes = roll_bytes
        self._roll_s = roll_s
        self._now = now
        self._growing = folder / ".vagus"
        try:
            self._growing.mkdir(parents=True, exist_ok=True)
            self._lock = _locked(self._growing / "lock")
            self._journal = sqlite3.connect(
                self._growing / "journal.sqlite", isolation_level=None, check_same_thread=False
            )
            self._journal.execute("PRAGMA journal_mode = WAL")
            self._journal.execute("PRAGMA synchronous = FULL")
            self._journal.executescript(_TABLES)
        except (OSError, sqlite3.Error) as error:
            raise SettingsError(f"cannot write to the folder {folder}: {error}") from error
        self._sweep()

    def close(self) -> None:
        """Leave the folder as it is; the next spool goes on where this one stopped."""
        self._journal.close()
        os.close(self._lock)

    def append(self, entries: Iterable[Entry]) -> int:
        """Write what is not written yet; it is on the disk when this returns. How many events that were."""
        with self._transaction():
            new = list(self._new(entries))
            for day in dict.fromkeys(entry.day for entry in new):
                self._grow(day, b"".join(entry.line + b"\n" for entry in new if entry.day == day))
        return len(new)

    def roll(self) -> int:
        """Finish the files that are old or large enough; how many."""
        with self._transaction():
            self._journal.execute(
                "UPDATE files SET closed = 1 WHERE bytes >= ? OR opened_at <= ?",
                (self._roll_bytes, self._now() - self._roll_s),
            )
        closed = self._files("closed")
        for file in closed:
            self._complete(file)
        return len(closed)

    def _new(self, entries: Iterable[Entry]) -> Iterator[Entry]:
        for entry in entries:
            changed = self._journal.execute(
                _RETRIED if entry.retried else _WRITTEN,
                (entry.session, entry.branch, entry.agent, entry.sequence),
            )
            if changed.rowcount:
                yield entry

    def _grow(self, day: str, data: bytes) -> None:
        found = [file for file in self._files("NOT closed") if file.day == day]
        if found:
            file = found[0]
        else:
            made = self._journal.execute(
                "INSERT INTO files (day, opened_at, bytes) VALUES (?, ?, 0)", (day, self._now())
            )
            file = _File(made.lastrowid or 0, day, 0, 0)
        handle = os.open(self._path(file), os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o640)
        with open(handle, "wb") as output:  # noqa: PTH123 - it is open already
            output.truncate(file.size)
            output.seek(file.size)
            output.write(data)
            output.flush()
            os.fsync(output.fileno())
        if not found:
            sync(self._growing)
        self._journal.execute("UPDATE files SET bytes = ? WHERE id = ?", (file.size + len(data), file.id))

    def _complete(self, file: _File) -> None:
        grown = self._path(file)
        opened = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime(file.opened_at))
        day = self._folder / f"day={file.day}"
        final = day / f"{opened}-{file.id:06d}{self._suffix}"
        if grown.exists():  # else it was finished, and only the journal does not know yet
            day.mkdir(exist_ok=True)
            self._finish(grown, final)
            sync(day)
            sync(self._folder)
        self._journal.execute("DELETE FROM files WHERE id = ?", (file.id,))
        grown.unlink(missing_ok=True)

    def _sweep(self) -> None:
        """Remove what a crash has left over: files that the journal does not know."""
        known = {self._path(file).name for file in self._files("TRUE")}
        for path in self._growing.glob("*.lines"):
            if path.name not in known:
                path.unlink()
        for path in self._growing.glob("*.part"):
            path.unlink()

    def _files(self, which: str) -> list[_File]:
        rows = self._journal.execute(
            f"SELECT id, day, opened_at, bytes FROM files WHERE {which} ORDER BY id"  # noqa: S608 - ours
        )
        return [_File(*row) for row in rows]

    def _path(self, file: _File) -> Path:
        return self._growing / f"{file.id:06d}.lines"

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        self._journal.execute("BEGIN IMMEDIATE")
        try:
            yield
        except BaseException:
            with suppress(sqlite3.Error):
                self._journal.execute("ROLLBACK")
            raise
        self._journal.execute("COMMIT")


def sync(folder: Path) -> None:
    """Bring the names in a folder to the disk."""
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _locked(path: Path) -> int:
    handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o640)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(handle)
        raise SettingsError(
            f"another process writes to the folder {path.parent.parent}: give every process one of its own"
        ) from None
    return handle
