"""A server whose power is cut: it runs once, watched, and its disk is put together as of any time after."""

import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec
import pytest

from tests.kit import disk, tracer
from vagus.contract.codec import Sealed
from vagus.contract.commands import Command, Tick
from vagus.runtime.bus import Bus, Stored
from vagus.runtime.embedded import Durability, EmbeddedServer, find_server
from vagus.runtime.eventlog import Expected
from vagus.runtime.jetstream_log import JetStreamLog
from vagus.sdk import dispatch
from vagus.sdk.post import store_once


@dataclass
class Acknowledged:
    """What this process was told to be stored, and when it was told."""

    commits: list[tuple[int, str, Sealed]] = field(default_factory=list)
    """Time, session, events."""
    commands: list[tuple[int, Command]] = field(default_factory=list)
    """Time, command."""

    @property
    def times_ns(self) -> list[int]:
        return sorted([at for at, *_ in self.commits] + [at for at, _ in self.commands])

    def ticks(self, until_ns: int) -> dict[str, set[str]]:
        """The ticks of each session that were accepted by then, by their ids; a session's may be none."""
        found: dict[str, set[str]] = {}
        for at, command in self.commands:
            if at <= until_ns:
                of_session = found.setdefault(command.session_id, set())
                of_session |= {command.command_id} if isinstance(command, Tick) else set()
        return found

    def lines(self, until_ns: int) -> dict[str, list[bytes]]:
        """The events of each session that were acknowledged by then."""
        found: dict[str, list[bytes]] = {}
        for at, session, sealed in self.commits:
            if at <= until_ns:
                found.setdefault(session, []).extend(sealed.lines)
        return found


def listen(monkeypatch: pytest.MonkeyPatch) -> Acknowledged:
    """Note every acknowledgement of a commit or command in this process, for the time of a test."""
    told = Acknowledged()
    commit = JetStreamLog.commit

    async def noted_commit(
        log: JetStreamLog, session: str, branch: str, sealed: Sealed, expected: Expected, **options: Any
    ) -> int:
        head = await commit(log, session, branch, sealed, expected, **options)
        told.commits.append((time.monotonic_ns(), session, sealed))
        return head

    async def noted_command(bus: Bus, subject: str, data: bytes, **options: Any) -> Stored:
        stored = await store_once(bus, subject, data, **options)
        told.commands.append((time.monotonic_ns(), msgspec.json.decode(data, type=Command)))
        return stored

    monkeypatch.setattr(JetStreamLog, "commit", noted_commit)
    monkeypatch.setattr(dispatch, "store_once", noted_command)
    return told


@dataclass
class Watched:
    """A server, and all that it does to its disk."""

    server: EmbeddedServer
    store: Path
    record: Path

    def operations(self) -> list[tracer.Operation]:
        """So far."""
        return list(tracer.read(self.record))

    def matches(self) -> bool:
        """Whether the record tells all: what it leads to is what is there. Of a server that has ended."""
        folder = self.store / "jetstream"
        there = {str(path): None if path.is_dir() else path.read_bytes() for path in folder.rglob("*")}
        told = disk.Disk(self.operations()).files(disk.everything)
        return told == {str(folder): None} | there


@asynccontextmanager
async def watched(folder: Path, durability: Durability) -> AsyncIterator[Watched]:
    """A server that runs while the block lasts, unless it is ended earlier."""
    store, record = folder / "nats", folder / "record"
    program = tracer.wrapper(find_server(), record, store / "jetstream")
    async with EmbeddedServer(store, durability=durability, binary=program) as server:
        yield Watched(server, store, record)


@asynccontextmanager
async def after_the_cut(
    was: Watched, operations: list[tracer.Operation], at_ns: int, keep: disk.Keep, target: Path
) -> AsyncIterator[EmbeddedServer]:
    """A server that starts on what the disk held at `at_ns`, in a folder of its own."""
    files = disk.Disk(operations, at_ns).files(keep)
    disk.write(files, was.store, target)
    async with EmbeddedServer(target, durability="sync") as server:
        yield server
