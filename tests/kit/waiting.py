"""Waiting for what will be so, instead of for time."""

import inspect
from collections.abc import Awaitable, Callable
from typing import TypeVar, overload

import anyio

T = TypeVar("T")

LAST_LOOK_S = 2.0


@overload
async def eventually(
    check: Callable[[], Awaitable[T]], *, timeout_s: float = ..., every_s: float = ...
) -> T: ...
@overload
async def eventually(check: Callable[[], T], *, timeout_s: float = ..., every_s: float = ...) -> T: ...
async def eventually(
    check: Callable[[], object], *, timeout_s: float = 20.0, every_s: float = 0.01
) -> object:
    """Run `check` until it gives something true and return that; its AssertionErrors count as not yet."""
    problem: AssertionError | None = None

    async def look() -> object:
        nonlocal problem
        try:
            outcome = check()
            return await outcome if inspect.isawaitable(outcome) else outcome
        except AssertionError as error:
            problem = error
            return None

    with anyio.move_on_after(timeout_s):
        while True:
            if value := await look():
                return value
            await anyio.sleep(every_s)
    with anyio.move_on_after(LAST_LOOK_S):  # we may have been kept from looking until the time was up
        if value := await look():
            return value
    raise problem or AssertionError(f"not so within {timeout_s:g} s: {inspect.getsource(check).strip()}")
