"""What a run found, as it is printed and as `benchmarks/results/<time>-scale-<durability>.json` holds it.

`ScaleReport` is the schema of the file. Times are in milliseconds where a name says so, else in seconds;
rates in 1/s; memory and disk in 10^6 bytes. `load_before` is the machine's 1-minute load average at the time.
"""

import msgspec

from benchmarks.figures import Machine, Spread, StepFigures, Target


class CallFigures(msgspec.Struct, frozen=True, kw_only=True):
    """Tool calls of one length. Each session makes one after the other, and there are more than slots."""

    kernels: int
    runners: int
    slots: int
    """Of each runner."""
    call_ms: int
    sessions: int
    load_before: float
    calls_per_s: float
    """Ticks with one call each that ended within the window."""
    ideal_per_s: float | None
    """What all slots could do if nothing but the calls took time; none for calls that take no time."""
    share: float | None
    """Of the ideal."""
    latency: Spread
    """From sending the tick to its output; it waits for a slot most of the time."""
    cpu_ms_per_call: dict[str, float]
    """By process kind, all processes of it together; `client` is the benchmark itself."""
    cores_used: float
    """Processor time of all of them to time; whatever else ran comes on top."""


class ProcessFigures(msgspec.Struct, frozen=True, kw_only=True):
    """One process at a moment."""

    memory_mb: float
    """Resident."""
    descriptors: int


class CensusFigures(msgspec.Struct, frozen=True, kw_only=True):
    """What an installation takes with so many sessions."""

    when: str
    sessions: int
    load_before: float
    nats_server: ProcessFigures
    kernel: ProcessFigures
    store_mb: float
    """On disk: the server's folder."""
    workspaces_mb: float
    """On disk: the sessions' folders."""
    idle_cores: dict[str, float]
    """Processor time to time while nobody asks for anything, by process kind."""


class GrowthFigures(msgspec.Struct, frozen=True, kw_only=True):
    """Some more sessions, `concurrency` at a time: created, then each ticked once, with a tool call."""

    sessions_before: int
    count: int
    concurrency: int
    load_before: float
    creation: Spread
    created_per_s: float
    tick: Spread
    ticks_per_s: float
    cpu_ms_per_creation: dict[str, float]


class RestartFigures(msgspec.Struct, frozen=True, kw_only=True):
    """A process that was ended and started again while there were so many sessions."""

    what: str
    sessions: int
    load_before: float
    ended_s: float
    """From the signal to its end."""
    ready_s: float
    """From its start until it told that it is ready: a server takes connections, a kernel owns partitions."""
    tick_s: float
    """From the signal until ticks of ten or so sessions that were there before had ended."""


class LatencyFigures(msgspec.Struct, frozen=True, kw_only=True):
    """Ticks of one session beside few and beside many idle ones, in turn."""

    kind: str
    few: int
    many: int
    in_memory: bool
    """Whether the kernel holds the many; else they have left its memory."""
    load_before: float
    beside_few: Spread
    beside_many: Spread
    ratio_p50: float


class ClusterFigures(msgspec.Struct, frozen=True, kw_only=True):
    """Three servers on one machine, on which every session is a Raft group of three."""

    sessions: int
    load_before: float
    creation: Spread
    """Of those since the row before."""
    created_per_s: float
    tick: Spread
    """Of one session, one after the other, each with a tool call."""
    servers: list[ProcessFigures]
    store_mb: float
    idle_cores: float
    """Processor time to time of the three servers while nobody asks for anything."""


class ScaleReport(msgspec.Struct, kw_only=True):
    """One run, filled in as it goes on."""

    started_at: str
    took_s: float
    durability: str
    quick: bool
    machine: Machine
    load_before: float
    steps: list[StepFigures] = []
    """The yardstick of `benchmarks.yardstick`, before everything and again after it; not of a quick run."""
    calls: list[CallFigures] = []
    growth: list[GrowthFigures] = []
    census: list[CensusFigures] = []
    restarts: list[RestartFigures] = []
    latency: list[LatencyFigures] = []
    cluster: list[ClusterFigures] = []
    cluster_limit: str = ""
    """Why the cluster was asked for no more sessions."""
    targets: list[Target] = []
    format: int = 1
