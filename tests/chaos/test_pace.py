"""Ticks and faults in step."""

from itertools import pairwise

import anyio
from anyio.lowlevel import checkpoint

from chaos.pace import AHEAD, Pace


async def rest() -> None:
    for _ in range(500):
        await checkpoint()


async def ticking(pace: Pace) -> None:
    """A client whose ticks end at once."""
    while not pace.over:
        await pace.tick()
        pace.answered()
        await checkpoint()


async def test_ticks_wait_for_the_faults_among_them() -> None:
    pace = Pace(faults=9, ticks=100)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(ticking, pace)
        await rest()
        assert pace.ended == AHEAD * 10
        for _ in range(3):
            await pace.fault()
            before = pace.ended
            await rest()
            assert pace.ended == before + AHEAD * 10
        tasks.cancel_scope.cancel()


async def test_a_fault_waits_for_the_ticks_before_it() -> None:
    pace = Pace(faults=9, ticks=100)
    struck: list[int] = []

    async def strike() -> None:
        for _ in range(9):
            await pace.fault()
            struck.append(pace.ended)
        pace.finish()

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(strike)
        await rest()
        assert struck == [0]
        await ticking(pace)
    assert all(later - earlier >= 10 for earlier, later in pairwise(struck))
    assert pace.ended >= 100


async def test_ticks_do_not_wait_while_a_process_waits_for_them() -> None:
    pace = Pace(faults=9, ticks=100)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(ticking, pace)
        await rest()
        before = pace.ended
        with pace.armed():
            await rest()
        assert pace.ended > before
        tasks.cancel_scope.cancel()


async def test_it_is_over_when_there_were_enough_of_both() -> None:
    pace = Pace(faults=1, ticks=2)
    for _ in range(2):
        await pace.tick()
        pace.answered()
        await checkpoint()
    assert not pace.over
    await pace.fault()
    pace.finish()
    assert pace.over
