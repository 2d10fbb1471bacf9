"""Schedules: which fault happens at which step."""

from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from itertools import combinations, product
from random import Random
from typing import TypeAlias


class Kind(StrEnum):
    """What may go wrong."""

    CRASH = "crash"
    """The kernel dies, and another takes its place."""
    STALL = "stall"
    """The kernel stands still; another takes over, and the first wakes up when all is done."""
    WAKE = "wake"
    """Kernels that stand still go on now."""
    SPLIT = "split"
    """Another kernel is given the inputs, while the first goes on with what it has: both believe."""
    DRAIN = "drain"
    """The kernel gives everything back, and another takes over."""
    REDELIVER = "redeliver"
    """Time enough passes that all unacked inputs are delivered again."""
    LATE = "late"
    """Time enough passes that what is owed is asked for again."""
    LOSE = "lose"
    """The next message to gate or runner, or straight from and to them, is lost."""
    UNKNOWN = "unknown"
    """The next commit is stored, and its acknowledgement is lost."""
    REFUSE = "refuse"
    """The next commit does not reach the log."""
    RECONNECT = "reconnect"
    """The connection was lost, and is back."""


@dataclass(frozen=True, order=True)
class Fault:
    """One thing that goes wrong before a step."""

    step: int
    kind: Kind

    def __str__(self) -> str:
        return f"{self.step}:{self.kind}"


Schedule: TypeAlias = tuple[Fault, ...]


def parse(text: str) -> Schedule:
    """The schedule that was written as `17:crash 42:lose`."""
    faults = (word.split(":") for word in text.split())
    return tuple(sorted(Fault(int(step), Kind(kind)) for step, kind in faults))


def write(schedule: Schedule) -> str:
    """As `parse` reads it."""
    return " ".join(map(str, schedule))


def all_of(steps: int, faults: int) -> Iterator[Schedule]:
    """Every schedule of exactly so many faults, at different steps or at the same one."""
    places = [Fault(step, kind) for step, kind in product(range(steps), Kind)]
    return combinations(places, faults)


def some_of(steps: int, faults: int, count: int, seed: int) -> Iterator[Schedule]:
    """So many schedules at random."""
    random = Random(seed)
    for _ in range(count):
        drawn = (Fault(random.randrange(steps), random.choice(list(Kind))) for _ in range(faults))
        yield tuple(sorted(drawn))
