"""A rate lets some begin at once and the others one after the other."""

import pytest

from vagus.contract.tools import read_rate
from vagus.tools import tool
from vagus_toolrunner.pace import Pace, Paces

LONG = 1e9


def waits(pace: Pace, *times: float) -> list[float]:
    """How long calls wait that come at these times."""
    found = [pace.reserve(now, LONG) for now in times]
    return [round(wait, 6) for wait in found if wait is not None]


def test_a_full_bucket_serves_at_once_and_then_at_its_rate() -> None:
    assert waits(Pace(2, 1.0), 0, 0, 0, 0) == [0, 0, 0.5, 1.0]


def test_it_fills_up_again_but_not_over_its_size() -> None:
    assert waits(Pace(2, 1.0), 0, 0, 0.5, 9, 9, 9) == [0, 0, 0, 0, 0, 0.5]


def test_no_period_sees_more_than_twice_the_count_and_the_long_run_no_more_than_the_rate() -> None:
    pace, now, begun = Pace(10, 1.0), 0.0, []
    for _ in range(1000):
        wait = pace.reserve(now, LONG)
        assert wait is not None
        begun.append(now + wait)
        now += 0.001
    assert begun == sorted(begun)
    assert begun[-1] == pytest.approx((1000 - 10) / 10)


def test_who_cannot_wait_so_long_takes_nothing_from_others() -> None:
    pace = Pace(1, 60.0)
    assert waits(pace, 0) == [0]
    assert pace.reserve(0, 59) is None
    assert waits(pace, 0, 0) == [60, 120]


@pytest.mark.parametrize(
    ("rate", "parts"), [("10/s", (10, "s")), ("1/min", (1, "min")), ("500/h", (500, "h"))]
)
def test_a_rate_is_read(rate: str, parts: tuple[int, str]) -> None:
    assert read_rate(rate) == parts

    @tool(rate=rate)
    async def limited() -> None: ...

    assert limited.definition.rate == rate
    assert Paces().delay(limited, 0) == 0


@pytest.mark.parametrize("rate", ["", "0/s", "1/d", "x", "1/s ", "-1/s", "1.5/s", "1"])
def test_what_is_no_rate_is_refused(rate: str) -> None:
    with pytest.raises(ValueError, match="not valid"):

        @tool(rate=rate)
        async def limited() -> None: ...


def test_tools_without_a_rate_and_other_tools_do_not_wait() -> None:
    @tool(rate="1/h")
    async def one() -> None: ...

    @tool
    async def free() -> None: ...

    paces = Paces()
    assert [paces.delay(one, 9), paces.delay(free, 9), paces.delay(free, 9)] == [0, 0, 0]
    assert paces.delay(one, 9) == 9
