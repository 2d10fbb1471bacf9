"""Exploring: runs schedules, and makes the first that fails as small as it can be."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from tests.model.run import play
from tests.model.schedule import Fault, Schedule, all_of, some_of, write


@dataclass(frozen=True)
class Failure:
    """A schedule under which something does not hold."""

    scenario: str
    schedule: Schedule
    problem: str

    def __str__(self) -> str:
        again = f"python -m tests.model --replay '{self.scenario} {write(self.schedule)}'"
        return f"{self.problem}\nsee it again: {again}"


def explore(scenario: str, schedules: Iterable[Schedule]) -> tuple[int, Failure | None]:
    """Run them until one fails; returns how many were run, and the failure, made small."""
    count = 0
    for schedule in schedules:
        count += 1
        if problem(scenario, schedule) is not None:
            small = shrunk(scenario, schedule)
            return count, Failure(scenario, small, problem(scenario, small) or "it does not fail again")
    return count, None


def schedules(scenario: str, faults: int, *, sample: int | None = None, seed: int = 0) -> Iterator[Schedule]:
    """All schedules of so many faults, or a sample of them."""
    steps = play(scenario, ())
    return all_of(steps, faults) if sample is None else some_of(steps, faults, sample, seed)


def problem(scenario: str, schedule: Schedule) -> str | None:
    """What does not hold under a schedule; None if all does."""
    try:
        play(scenario, schedule)
    except Exception as error:  # whatever it is, it is what we look for
        return f"{type(error).__name__}: {error}"
    return None


def shrunk(scenario: str, schedule: Schedule) -> Schedule:
    """A schedule that fails as well: none of its faults can be left out, or happen a step earlier."""
    smaller = True
    while smaller:
        smaller = False
        for candidate in _smaller(schedule):
            if problem(scenario, candidate) is not None:
                schedule, smaller = candidate, True
                break
    return schedule


def _smaller(schedule: Schedule) -> Iterator[Schedule]:
    for place, fault in enumerate(schedule):
        rest = schedule[:place] + schedule[place + 1 :]
        yield rest
        if fault.step:
            yield tuple(sorted((*rest, Fault(fault.step - 1, fault.kind))))
