import anyio
import anyio.lowlevel
import pytest

from vagus.contract.errors import Conflict
from vagus.runtime.beside import beside


async def test_tasks_end_with_the_block() -> None:
    ended = anyio.Event()

    async def task() -> None:
        try:
            await anyio.sleep_forever()
        finally:
            ended.set()

    async with beside(task):
        await anyio.lowlevel.checkpoint()
    assert ended.is_set()


async def test_an_error_of_the_block_is_raised_as_itself() -> None:
    with pytest.raises(Conflict, match="mine"):
        async with beside(anyio.sleep_forever):
            raise Conflict("mine")


async def test_an_error_of_a_task_ends_the_block_and_is_raised_as_itself() -> None:
    async def task() -> None:
        raise Conflict("the task's")

    with pytest.raises(Conflict, match="the task's"):
        async with beside(task):
            await anyio.sleep_forever()


async def test_cancelling_around_it_goes_through() -> None:
    with anyio.move_on_after(0.01) as scope:
        async with beside(anyio.sleep_forever):
            await anyio.sleep_forever()
    assert scope.cancelled_caught
