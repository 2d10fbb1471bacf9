"""What a run came to."""

from collections.abc import Iterator, Mapping
from typing import Final

import msgspec

from chaos.checker.report import Counts, Report

KINDS: Final = 12
"""Different ones that a whole run must have seen."""


class Asked(msgspec.Struct, frozen=True, kw_only=True):
    """What the run was to do, so that it can be done again."""

    seed: int
    ticks: int
    faults: int
    servers: int

    @property
    def command(self) -> str:
        """Repeats the plan."""
        return (
            f"python -m chaos --seed {self.seed} --ticks {self.ticks} --faults {self.faults} "
            f"--servers {self.servers}"
        )


class Outcome(msgspec.Struct, kw_only=True):
    """What was done, and what was found."""

    asked: Asked
    kinds_planned: int
    points_planned: tuple[str, ...]
    sessions: int = 0
    answered: int = 0
    """Ticks that clients were answered."""
    told: Mapping[str, int] = {}
    """What they were told."""
    commands: Mapping[str, int] = {}
    """What became of commands that are no ticks."""
    struck: Mapping[str, int] = {}
    """Faults that struck, by kind."""
    visits: Mapping[str, int] = {}
    """Deaths at named points."""
    missed: Mapping[str, int] = {}
    restarts: int = 0
    """Processes that ended by themselves and were started again."""
    took_s: float = 0.0
    check: Report | None = None
    problems: list[str] = msgspec.field(default_factory=list)
    """Why the run is no proof: stuck, cut short, or somebody was told what nobody should be."""

    def judge(self) -> None:
        """Add what is missing."""
        counts = self.check.counts if self.check is not None else Counts()
        short = self.asked.ticks - counts.ticks - counts.erased_ticks
        if short > 0:
            self.problems.append(f"{short} ticks are missing")
        if (struck := sum(self.struck.values())) < self.asked.faults:
            self.problems.append(f"{self.asked.faults - struck} faults are missing")
        if len(self.struck) < self.kinds_planned:
            self.problems.append(f"{self.kinds_planned - len(self.struck)} kinds of faults are missing")
        for name in self.points_planned:
            if not self.visits.get(name):
                self.problems.append(f"no process has died at {name}")
        if (unseen := counts.events - counts.relayed) > 0:
            self.problems.append(f"{unseen} events were not compared with the firehose")
        if self.check is not None and not self.check.ok:
            self.problems.append(f"{sum(self.check.by_rule.values())} violations")

    @property
    def ok(self) -> bool:
        """Whether everything was done and nothing is wrong; after `judge`."""
        return self.check is not None and not self.problems


def lines(outcome: Outcome) -> Iterator[str]:
    """The outcome for people."""
    struck = outcome.struck
    yield (
        f"{outcome.sessions} sessions, {outcome.answered} ticks answered, {sum(struck.values())} faults of "
        f"{len(struck)} kinds in {outcome.took_s:.0f} s"
    )
    yield ""
    yield from _table("faults", struck)
    yield from _table("deaths at named points", outcome.visits)
    yield from _table("armed, and nobody came by in time", outcome.missed)
    yield from _table("what clients were told of their ticks", outcome.told)
    yield from _table("what became of their other commands", outcome.commands)
    if outcome.restarts:
        yield f"processes that ended by themselves and were started again: {outcome.restarts}"
        yield ""
    for problem in outcome.problems:
        yield f"✗ {problem}"
    yield f"repeat with: {outcome.asked.command}"


def _table(title: str, numbers: Mapping[str, int]) -> Iterator[str]:
    if not numbers:
        return
    yield f"{title}:"
    for name in sorted(numbers):
        yield f"  {name:<32} {numbers[name]:>6}"
    yield ""
