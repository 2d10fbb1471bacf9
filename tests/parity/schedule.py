"""Things that happen at once, in virtual time: generators that yield how long they wait.

A number is so many milliseconds; None is until something else has gone on.
"""

from collections.abc import Generator, Sequence
from typing import TypeAlias, TypeVar

T = TypeVar("T")
Timed: TypeAlias = Generator[float | None, None, T]


def run(timed: Sequence[Timed[T]]) -> list[T]:
    """Run all to their ends; the order at equal times is that of the sequence."""
    due: dict[int, float] = dict.fromkeys(range(len(timed)), 0.0)
    blocked: set[int] = set()
    results: dict[int, T] = {}
    now = 0.0
    while due or blocked:
        if not due:
            raise AssertionError("everybody waits for somebody else")
        index = min(due, key=lambda i: (due[i], i))
        now = due.pop(index)
        try:
            wait = next(timed[index])
        except StopIteration as end:
            results[index] = end.value
            due |= dict.fromkeys(blocked, now)
            blocked.clear()
            continue
        if wait is None:
            blocked.add(index)
        else:
            due[index] = now + wait
    return [results[index] for index in range(len(timed))]


def alone(timed: Timed[T]) -> T:
    """Run one."""
    return run([timed])[0]
