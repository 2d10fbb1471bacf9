"""What an installation looks like at a moment, as operators ask for it."""

import msgspec

from vagus.contract.messages import Role
from vagus.contract.state import OperatingMode


class Member(msgspec.Struct, frozen=True, kw_only=True):
    """A process that lives: it holds leases."""

    name: str
    """`<kind>.<instance>`, unique."""
    kind: str
    """`kernel`, `policygate`, `runner`, `approver` or `relay`."""
    instance: str
    since: str
    """When it began; empty if it does not say."""
    alive_s: float | None
    """How long ago that was, by our clock; None if it does not say."""
    pools: tuple[str, ...] = ()
    """Of a runner."""


class Replica(msgspec.Struct, frozen=True, kw_only=True):
    """A server that follows the leader of the inbox."""

    name: str
    current: bool = False
    offline: bool = False
    lag: int = 0
    """Operations that it is behind."""


class Server(msgspec.Struct, frozen=True, kw_only=True):
    """The server, or the cluster, and what JetStream uses on it."""

    version: str
    leader: str
    """Of the inbox; the only server if there is one."""
    replicas: tuple[Replica, ...]
    streams: int
    consumers: int
    memory_bytes: int
    storage_bytes: int
    api_errors: int
    """Requests that JetStream has refused since it started."""


class Queue(msgspec.Struct, frozen=True, kw_only=True):
    """What waits somewhere, and what is being worked on."""

    name: str
    """`commands` and `answers` (of the inbox), `gate`, `tools.<pool>`, `tickets`, `people` (their answers to
    tickets), `due` (ticks whose time has come), `schedules` (ticks for later), `dead` (letters)."""
    messages: int
    """All that are not acknowledged."""
    in_hand: int | None = None
    """Of these, delivered to somebody; None if nobody takes any, or while the server has no consumer."""
    redelivered: int | None = None
    """Of these, for the second time or more."""
    oldest_s: float | None = None
    """How long the oldest has been there, by the server's clock; None if there is none."""


class OldestInput(msgspec.Struct, frozen=True, kw_only=True):
    """The input that was accepted first and is not done yet."""

    session_id: str
    role: Role
    partition: int
    age_s: float
    kernel: str
    """Whose the partition is; empty if no kernel lives."""


class SessionCount(msgspec.Struct, frozen=True, kw_only=True):
    """Sessions by what they are doing, as the registry has it."""

    total: int
    closed: int
    by_mode: dict[OperatingMode, int]
    """Those that are not closed, by the mode of `main`."""
    pending_approvals: int
    archived: int = 0
    """Of all, closed or not, those whose log is in the archive: they are no streams."""


class Status(msgspec.Struct, frozen=True, kw_only=True):
    """Everything, as far as it could be read in time."""

    server: Server | None
    members: tuple[Member, ...]
    partitions: int | None
    owned: dict[str, tuple[int, ...]]
    """The partitions of the inbox that are each kernel's, by its name."""
    queues: tuple[Queue, ...]
    oldest_input: OldestInput | None
    sessions: SessionCount | None
    problems: tuple[str, ...]
    """What could not be read, and why; empty when the picture is whole."""
