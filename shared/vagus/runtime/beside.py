"""Tasks beside a block of code, whose errors stay themselves."""

from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager

import anyio


@asynccontextmanager
async def beside(*tasks: Callable[[], Coroutine[object, object, None]]) -> AsyncIterator[None]:
    """Run `tasks` while the block runs, and cancel them at its end.

    An error of the block is raised as it is, not wrapped in a group, so that callers catch it by its type.
    An error of a task cancels the block and is raised in its stead.
    """
    failure: Exception | None = None
    try:
        async with anyio.create_task_group() as group:
            for task in tasks:
                group.start_soon(task)
            try:
                yield
            except Exception as error:  # raised below, outside of the group
                failure = error
            group.cancel_scope.cancel()
    except ExceptionGroup as errors:
        raise first(errors) from errors
    if failure is not None:
        raise failure


def first(errors: ExceptionGroup[Exception]) -> Exception:
    """The first error in a group, however deep."""
    found = errors.exceptions[0]
    return first(found) if isinstance(found, ExceptionGroup) else found
