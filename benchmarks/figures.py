"""What a run found, as it is printed and as `benchmarks/results/<time>.json` holds it.

`Report` is the schema of the file. Times are in milliseconds, rates in 1/s.
"""

import math
from collections.abc import Sequence

import msgspec


class Spread(msgspec.Struct, frozen=True, kw_only=True):
    """How long something took, over `count` times."""

    count: int
    mean_ms: float
    p50_ms: float
    p99_ms: float
    max_ms: float


def spread(seconds: Sequence[float]) -> Spread:
    """Percentiles by nearest rank: each is a time that was measured."""
    ordered = sorted(seconds)
    return Spread(
        count=len(ordered),
        mean_ms=_ms(sum(ordered) / len(ordered)),
        p50_ms=_ms(percentile(ordered, 50)),
        p99_ms=_ms(percentile(ordered, 99)),
        max_ms=_ms(ordered[-1]),
    )


def percentile(ordered: Sequence[float], percent: float) -> float:
    """The smallest value that at least `percent` of the values do not exceed."""
    return ordered[max(0, math.ceil(len(ordered) * percent / 100) - 1)]


def _ms(seconds: float) -> float:
    return round(seconds * 1000, 4)


class Machine(msgspec.Struct, frozen=True, kw_only=True):
    """Where it ran."""

    processor: str
    cores: int
    system: str
    python: str
    nats_server: str
    vagus: str
    fsync_p50_ms: float
    """Of 512 bytes appended to a file beside the stores."""


class CommitFigures(msgspec.Struct, frozen=True, kw_only=True):
    """Commits of `events` events, by `writers` sessions at a time, and raw publishes of the same bytes."""

    events: int
    writers: int
    payload_bytes: int
    load_before: float
    """The machine's 1-minute load average when this began, as everywhere below."""
    commit: Spread
    """`JetStreamLog.commit` of sealed events."""
    raw: Spread
    """nats-py's `JetStreamContext.publish` of the payload to a stream of the same settings."""
    seal: Spread
    """Encoding and chaining the events before the commit."""
    events_per_s: float
    raw_events_per_s: float
    ratio_p50: float
    """Commit to raw publish."""


class StepFigures(msgspec.Struct, frozen=True, kw_only=True):
    """The yardstick: a durable step built by hand on the same server, in a worker process."""

    sessions: int
    load_before: float
    latency: Spread
    steps_per_s: float


class TickFigures(msgspec.Struct, frozen=True, kw_only=True):
    """Ticks of one kind: each session runs one after the other, all sessions at a time."""

    kind: str
    """`text`, `tool` (proposed by the caller) or `model tool` (proposed by a scripted model)."""
    sessions: int
    load_before: float
    latency: Spread
    ticks_per_s: float
    events_per_tick: float
    cpu_ms_per_tick: dict[str, float]
    """By process kind; `client` is the benchmark itself, `nats-server` the broker."""
    own_cpu_ms_per_tick: float
    """Of kernel, policy gate, tool runner and approver together: not of the client and the broker."""


class CreationFigures(msgspec.Struct, frozen=True, kw_only=True):
    """Creating sessions, `concurrency` at a time."""

    concurrency: int
    load_before: float
    latency: Spread
    sessions_per_s: float


class ActivationFigures(msgspec.Struct, frozen=True, kw_only=True):
    """The first tick of a session after its kernel was restarted."""

    events: int
    load_before: float
    first: Spread
    """The tick that wakes the session, from its snapshot."""
    warm: Spread
    """Ticks right after it."""
    replay: Spread
    """The tick that wakes the session when there is no snapshot and the whole log is folded."""
    archive_s: float | None = None
    """Moving its log to the archive; measured with `--long` only, as is moving it back."""
    restore_s: float | None = None


class Target(msgspec.Struct, frozen=True, kw_only=True):
    """One figure that was to be reached."""

    name: str
    wanted: str
    found: float
    met: bool


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """One run."""

    started_at: str
    took_s: float
    durability: str
    quick: bool
    machine: Machine
    commits: list[CommitFigures] = []
    steps: list[StepFigures] = []
    """The yardstick, before the ticks and again after them."""
    ticks: list[TickFigures] = []
    creation: list[CreationFigures] = []
    activation: list[ActivationFigures] = []
    targets: list[Target] = []
    format: int = 1
