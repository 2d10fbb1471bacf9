"""What a run found, as it is printed and as `benchmarks/results/<time>-feed-….json` holds it."""

import msgspec

from benchmarks.figures import Machine, Spread


class LagFigures(msgspec.Struct, frozen=True, kw_only=True):
    """Events that sessions commit at an even rate, and how long each takes to arrive."""

    way: str
    load_before: float
    wanted_per_s: int
    committed_per_s: float
    """What came of it."""
    lag: Spread
    """From the moment that a commit is given to the server until an event of it has arrived."""


class CatchUpFigures(msgspec.Struct, frozen=True, kw_only=True):
    """Events that are there already, until the last one has arrived."""

    way: str
    load_before: float
    events: int
    took_s: float
    events_per_s: float


class AudienceFigures(msgspec.Struct, frozen=True, kw_only=True):
    """Subscribers that each want the events of one session, all at once."""

    subscribers: int
    load_before: float
    committed_per_s: float
    delivered_per_s: float
    lag: Spread


class CostFigures(msgspec.Struct, frozen=True, kw_only=True):
    """Text ticks at fixed times, in turn without and with what reads their events."""

    what: str
    """Who reads: nobody, a relay, or a relay and so many subscribers; or what the server is slowed by."""
    load_before: float
    ticks: int
    latency: Spread
    kernel_ms_per_tick: float
    """Processor time; the median of the turns."""
    kernel_to_nobody: list[float] = []
    """Turn by turn, how many times the processor time of the same round's turn without readers."""


class FeedReport(msgspec.Struct, frozen=True, kw_only=True):
    """One run."""

    started_at: str
    took_s: float
    durability: str
    quick: bool
    machine: Machine
    lag: list[LagFigures] = []
    catch_up: list[CatchUpFigures] = []
    audience: list[AudienceFigures] = []
    cost: list[CostFigures] = []
    format: int = 1
