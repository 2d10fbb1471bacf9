"""Backup: all that an installation keeps on its server, as a folder, and back onto an empty server.

A backup is taken while everything runs, stream after stream, in an order that makes the copies fit. Queues
come first: an input that is in the copy of its queue and of a log as well is known there by its id. What is
derived from the logs comes before them, and is at worst old; what logs refer to comes after them, and is at
worst unused. So the copies are what a crash leaves, and processes go on from them as from that. What
processes do not outlive, their leases, is left out.
"""

from collections.abc import Callable, Iterable, Sequence
from typing import Final

import anyio
import msgspec

from vagus.contract import streams
from vagus.contract.errors import Conflict, Malformed, NotFound, Refused
from vagus.contract.subjects import Subjects
from vagus.runtime import clock, transfer
from vagus.runtime.answers import ApiError
from vagus.runtime.bus import Bus
from vagus.runtime.transfer import Transfer

FORMAT: Final = 1
INDEX: Final = "backup.json"
_FIRST: Final = ("APPROVALS", "GATE", "TOOLS")
"""What comes of these goes to the inbox: an answer that is in both copies is known by its id."""
_INBOX, _SCHEDULES = "INBOX", "SCHEDULES"
_ARCHIVES: Final = ("ARCHIVE", streams.ARCHIVED)
_REFERRED_TO: Final = (streams.BLOBS, streams.ERASED, streams.CALLS)
"""Claims last: the later one is copied, the fewer calls run again that have run."""
_LEFT_OUT: Final = (streams.MEMBERS,)
_ROUNDS: Final = 5
_NOT_FOUND: Final = 404

Tell = Callable[[str], None]
"""Is given a line on what is done now."""


def untold(_: str) -> None:
    """Nobody wants to know."""


class Backup(msgspec.Struct, frozen=True, kw_only=True):
    """What a backup's folder holds; its `backup.json`. One without it is not complete."""

    format: int = FORMAT
    root_subject: str
    taken_at: str
    """When it was begun: RFC 3339, UTC."""
    server_version: str
    streams: tuple[Transfer, ...]
    """In the order in which they were copied; each in `<stream>.snapshot`."""

    @property
    def size(self) -> int:
        """Of all files, in bytes."""
        return sum(stream.size for stream in self.streams)


class Backups:
    """Of one installation."""

    def __init__(self, *, bus: Bus, subjects: Subjects) -> None:
        self._bus = bus
        self._subjects = subjects

    async def take(self, folder: anyio.Path, tell: Tell) -> Backup:
        """As `Client.backup`."""
        await _make_empty(folder)
        taken_at = clock.now()
        copy = _Copy(self._bus, folder, tell)
        logs, others = await self._streams()
        await copy.streams(others, only=_FIRST)
        await self._save_inbox(copy, others)
        later = (*_FIRST, _INBOX, _SCHEDULES, *_ARCHIVES, *_REFERRED_TO)
        await copy.streams(others, but=later)
        await copy.logs(logs)
        for _ in range(_ROUNDS):  # what is archived or restored meanwhile is in one of the two
            await copy.streams(others, only=_ARCHIVES)
            logs, others = await self._streams()
            if await copy.logs(logs):
                break
        else:
            raise Conflict("sessions are archived faster than they are saved: try again when that is done")
        for name in _REFERRED_TO:
            await copy.streams(others, only=(name,))
        backup = Backup(
            root_subject=self._subjects.root,
            taken_at=taken_at,
            server_version=self._bus.server_version,
            streams=tuple(copy.saved.values()),
        )
        part = folder / f"{INDEX}.part"
        await part.write_bytes(msgspec.json.format(msgspec.json.encode(backup), indent=2))
        await part.rename(folder / INDEX)
        return backup

    async def put_back(self, folder: anyio.Path, replicas: int | None, tell: Tell) -> Backup:
        """As `Client.restore_backup`."""
        backup = await read(folder)
        if backup.root_subject != self._subjects.root:
            raise Refused(
                f"{folder} is a backup of the root subject {backup.root_subject}: "
                f"set VAGUS_ROOT_SUBJECT={backup.root_subject}"
            )
        for saved in backup.streams:  # before anything is made
            await transfer.check(saved, _file(folder, saved.stream))
        there = set(await transfer.names(self._bus, self._subjects))
        in_the_way = [saved.stream for saved in backup.streams if saved.stream in there]
        if in_the_way:
            raise Conflict(
                f"the server has {in_the_way[0]} already, and {len(in_the_way)} such streams in all: "
                "a backup goes back to a server, or an account, that has none of them, "
                "before the processes are started"
            )
        # One after another: two at once now and then end nats-server 2.15, with its own map of streams.
        for saved in backup.streams:
            tell(f"restoring {saved.stream}")
            path = _file(folder, saved.stream)
            made = await transfer.load(self._bus, saved, path, replicas=replicas)
            if made.last_seq != saved.state.last_seq:
                raise Malformed(
                    f"{saved.stream} ends at {made.last_seq} on the server and at {saved.state.last_seq} "
                    f"in {path}: empty the server and try again"
                )
        return backup

    async def _streams(self) -> tuple[list[str], list[str]]:
        """The names of all logs, and of all else that is kept."""
        prefix = self._subjects.session_stream("")
        names = sorted(await transfer.names(self._bus, self._subjects))
        left_out = {f"KV_{self._subjects.named(name)}" for name in _LEFT_OUT}
        logs = [name for name in names if name.startswith(prefix)]
        return logs, [name for name in names if not name.startswith(prefix) and name not in left_out]

    async def _save_inbox(self, copy: "_Copy", names: Iterable[str]) -> None:
        """Ticks for later go from the inbox to the schedules, and back: none may be on its way meanwhile."""
        inbox, schedules = (self._subjects.named(name) for name in (_INBOX, _SCHEDULES))
        if not {inbox, schedules} <= set(names):
            return
        for _ in range(_ROUNDS):
            before = await copy.save(schedules)
            await copy.save(inbox)
            if (await copy.save(schedules)).state == before.state:
                return
        raise Conflict("schedules change faster than they are saved: try again when there is less to do")


class _Copy:
    """What has been saved so far."""

    def __init__(self, bus: Bus, folder: anyio.Path, tell: Tell) -> None:
        self.saved: dict[str, Transfer] = {}
        self._bus = bus
        self._folder = folder
        self._tell = tell

    async def logs(self, names: Iterable[str]) -> bool:
        """Save the logs that are not saved yet; False: one of them went away before it was."""
        whole = True
        for name in names:
            if name not in self.saved:
                try:
                    await self.save(name)
                except ApiError as error:
                    if error.code != _NOT_FOUND:
                        raise
                    whole = False
        return whole

    async def streams(
        self, names: Iterable[str], *, only: Sequence[str] | None = None, but: Sequence[str] = ()
    ) -> None:
        """Save streams, anew if they are; of some kinds `only`, or all `but` some."""
        for name in names:
            kind = name.rpartition("_")[2]
            if kind not in but and (only is None or kind in only):
                await self.save(name)

    async def save(self, name: str) -> Transfer:
        """Save a stream, anew if it is; raises as `transfer.save`."""
        self._tell(f"saving {name}")
        self.saved.pop(name, None)
        saved = self.saved[name] = await transfer.save(self._bus, name, _file(self._folder, name))
        return saved


async def read(folder: anyio.Path) -> Backup:
    """What a backup holds; raises `NotFound`, or `Malformed` if it is not one of ours."""
    path = folder / INDEX
    try:
        backup = msgspec.json.decode(await path.read_bytes(), type=Backup)
    except OSError as error:
        raise NotFound(
            f"no complete backup in {folder}: cannot read {INDEX} ({error.strerror}), which is written last"
        ) from error
    except msgspec.MsgspecError as error:
        raise Malformed(f"{path} is not what a backup writes: {error}") from error
    if backup.format != FORMAT:
        raise Malformed(f"{path} has format {backup.format}; this version reads {FORMAT}")
    return backup


async def _make_empty(folder: anyio.Path) -> None:
    try:
        await folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        async for _ in folder.iterdir():
            raise Refused(f"{folder} is not empty: a backup wants a folder of its own")
    except OSError as error:
        raise Refused(f"cannot make the folder {folder}: {error.strerror}") from error


def _file(folder: anyio.Path, stream: str) -> anyio.Path:
    return folder / f"{stream}.snapshot"
