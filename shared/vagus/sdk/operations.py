"""What operators do: look at an installation as a whole, and have processes end in good order."""

import re
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Final

import anyio
import msgspec

from vagus.contract import streams
from vagus.contract.errors import VagusError
from vagus.contract.messages import Role
from vagus.contract.state import OperatingMode
from vagus.contract.status import Member, OldestInput, Server, SessionCount, Status
from vagus.contract.subjects import Subjects
from vagus.runtime import clock
from vagus.runtime.backlog import STREAMS, Backlog, Waiting, read_backlog
from vagus.runtime.bucket import Bucket, Entry
from vagus.runtime.bus import Bus
from vagus.runtime.drain import drain, process_of
from vagus.runtime.members import owned

READ_S: Final = 5.0
"""What is not read by then is left out and told as a problem."""
_PARTITIONS: Final = re.compile(r"partition\((\d+)")
_KINDS: Final = {
    kind: place for place, kind in enumerate(("kernel", "policygate", "runner", "approver", "relay"))
}
"""In the order in which a call meets them."""


class Operations:
    """Of one installation."""

    def __init__(self, *, bus: Bus, subjects: Subjects) -> None:
        self._bus = bus
        self._members = Bucket(bus, subjects.named(streams.MEMBERS))
        self._sessions = Bucket(bus, subjects.named(streams.SESSIONS))
        self._subjects = subjects

    async def members(self) -> list[Member]:
        """All processes that live, by kind and name."""
        now_ns = clock.now_ns()
        found: dict[tuple[str, str], list[Entry]] = {}
        for entry in await self._members.entries():
            found.setdefault(process_of(entry.key), []).append(entry)
        made = [_member(kind, instance, found[kind, instance], now_ns) for kind, instance in found]
        return sorted(made, key=lambda member: (_KINDS.get(member.kind, len(_KINDS)), member.name))

    async def drain(self, process: str, timeout_s: float) -> None:
        """As `Client.drain`."""
        await drain(self._bus, self._subjects, process, timeout_s=timeout_s)

    async def status(self) -> Status:
        """As `Client.status`. All parts are read at the same time, each for so long at most."""
        picture = _Picture()

        async def members() -> None:
            picture.members = await self.members()

        async def sessions() -> None:
            picture.sessions = _count([entry.value for entry in await self._sessions.entries()])

        async def usage() -> None:
            picture.usage = msgspec.convert(await self._bus.api("INFO"), _Usage)

        async def backlog(name: str) -> None:
            picture.backlogs[name] = await read_backlog(self._bus, self._subjects, name)

        async with anyio.create_task_group() as group:
            for what, read in (("members", members), ("sessions", sessions), ("JetStream", usage)):
                group.start_soon(picture.read, what, read)
            for name in STREAMS:
                group.start_soon(picture.read, self._subjects.named(name), partial(backlog, name))
        return picture.status(self._bus.server_version)


class _Usage(msgspec.Struct):
    class Api(msgspec.Struct):
        errors: int = 0

    streams: int
    consumers: int
    memory: int
    storage: int
    api: Api = msgspec.field(default_factory=Api)


class _Summary(msgspec.Struct):
    """What is counted of a session."""

    mode: OperatingMode
    pending_approvals: int
    closed: bool
    archived: bool = False


@dataclass
class _Picture:
    """What has been read so far."""

    members: list[Member] = field(default_factory=list)
    sessions: SessionCount | None = None
    usage: _Usage | None = None
    backlogs: dict[str, Backlog] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)

    async def read(self, what: str, read: Callable[[], Awaitable[None]]) -> None:
        """Read one part, in bounded time."""
        try:
            with anyio.fail_after(READ_S):
                await read()
        except TimeoutError:
            self.problems.append(f"{what}: no answer within {READ_S:g} s")
        except (VagusError, msgspec.MsgspecError) as error:
            self.problems.append(f"{what}: {error}")

    def status(self, version: str) -> Status:
        """All of it."""
        inbox = self.backlogs.get("INBOX")
        partitions = _partitions(inbox)
        kernels = [member.name for member in self.members if member.kind == "kernel"]
        shares = {name: tuple(sorted(owned(partitions or 0, name, kernels))) for name in kernels}
        return Status(
            server=self._server(version, inbox),
            members=tuple(self.members),
            partitions=partitions,
            owned=shares,
            queues=tuple(
                queue
                for name in STREAMS
                if (backlog := self.backlogs.get(name)) is not None
                for queue in backlog.queues
            ),
            oldest_input=None if inbox is None or inbox.oldest is None else _input(inbox.oldest, shares),
            sessions=self.sessions,
            problems=tuple(sorted(self.problems)),
        )

    def _server(self, version: str, inbox: Backlog | None) -> Server | None:
        if self.usage is None:
            return None
        return Server(
            version=version,
            leader="" if inbox is None else inbox.leader,
            replicas=() if inbox is None else inbox.replicas,
            streams=self.usage.streams,
            consumers=self.usage.consumers,
            memory_bytes=self.usage.memory,
            storage_bytes=self.usage.storage,
            api_errors=self.usage.api.errors,
        )


def _partitions(inbox: Backlog | None) -> int | None:
    """How many the inbox was made with."""
    found = None if inbox is None else _PARTITIONS.search(inbox.transform)
    return None if found is None else int(found[1])


def _input(oldest: Waiting, shares: Mapping[str, tuple[int, ...]]) -> OldestInput:
    *_, partition, role, session_id = oldest.subject.split(".")
    owner = next((name for name, share in shares.items() if int(partition) in share), "")
    return OldestInput(
        session_id=session_id, role=Role(role), partition=int(partition), age_s=oldest.age_s, kernel=owner
    )


def _count(entries: list[bytes]) -> SessionCount:
    summaries = [msgspec.json.decode(entry, type=_Summary) for entry in entries]
    modes = Counter(summary.mode for summary in summaries if not summary.closed)
    return SessionCount(
        total=len(summaries),
        closed=sum(summary.closed for summary in summaries),
        by_mode={mode: modes[mode] for mode in OperatingMode if modes[mode]},
        pending_approvals=sum(summary.pending_approvals for summary in summaries),
        archived=sum(summary.archived for summary in summaries),
    )


class _Lease(msgspec.Struct):
    since_ns: int | None = None


def _member(kind: str, instance: str, leases: list[Entry], now_ns: int) -> Member:
    try:
        since_ns = msgspec.json.decode(leases[0].value, type=_Lease).since_ns
    except msgspec.MsgspecError:
        since_ns = None
    return Member(
        name=f"{kind}.{instance}",
        kind=kind,
        instance=instance,
        since="" if since_ns is None else clock.format_ns(since_ns),
        alive_s=None if since_ns is None else round(max(0, now_ns - since_ns) / 1e9, 3),
        pools=tuple(sorted(lease.key.split(".")[1] for lease in leases)) if kind == "runner" else (),
    )
