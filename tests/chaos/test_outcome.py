"""A run is a proof only if everything that was asked for has happened, and nothing is wrong."""

import pytest

from chaos.checker.report import Counts, Report
from chaos.report import Asked, Outcome, lines

ASKED = Asked(seed=7, ticks=100, faults=3, servers=1)


def report(ticks: int = 100, *, erased: int = 0, events: int = 0, relayed: int = 0, **by_rule: int) -> Report:
    counts = Counts(ticks=ticks, erased_ticks=erased, events=events, relayed=relayed)
    return Report(ok=not by_rule, root="vagus", took_s=1.0, counts=counts, by_rule=by_rule, violations=())


def outcome() -> Outcome:
    return Outcome(
        asked=ASKED,
        kinds_planned=3,
        points_planned=("kernel.before_commit",),
        struck={"cut": 1, "stall": 1, "die-at": 1},
        visits={"kernel.before_commit": 1},
        check=report(),
    )


def judged(made: Outcome) -> list[str]:
    made.judge()
    assert made.ok == (not made.problems)
    return made.problems


def test_what_was_asked_for_and_checked_is_a_proof() -> None:
    assert judged(outcome()) == []


def test_ticks_of_erased_sessions_have_ended_too() -> None:
    made = outcome()
    made.check = report(ticks=90, erased=10)
    assert judged(made) == []


@pytest.mark.parametrize(
    ("changed", "problem"),
    [
        ({"check": report(ticks=99)}, "1 ticks are missing"),
        ({"check": None}, "100 ticks are missing"),
        ({"check": report(tick=2, queue=1)}, "3 violations"),
        ({"check": report(events=9, relayed=7)}, "2 events were not compared with the firehose"),
        ({"struck": {"cut": 1, "stall": 2}}, "1 kinds of faults are missing"),
        ({"visits": {}}, "no process has died at kernel.before_commit"),
        ({"problems": ["tick t1: Malformed: what?"]}, "tick t1: Malformed: what?"),
    ],
)
def test_what_is_missing_or_wrong_is_told(changed: dict[str, object], problem: str) -> None:
    made = outcome()
    for name, value in changed.items():
        setattr(made, name, value)
    assert judged(made) == [problem]
    assert f"✗ {problem}" in lines(made)


def test_faults_that_never_struck_are_missing() -> None:
    made = outcome()
    made.struck = {"cut": 1, "stall": 1}
    assert judged(made) == ["1 faults are missing", "1 kinds of faults are missing"]


def test_the_command_that_repeats_it_is_told() -> None:
    assert "repeat with: python -m chaos --seed 7 --ticks 100 --faults 3 --servers 1" in lines(outcome())
