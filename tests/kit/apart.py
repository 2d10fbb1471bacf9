"""An event loop of a test's own, for tests that are no coroutines."""

from collections.abc import Awaitable, Callable
from contextvars import Context
from typing import TypeVar, TypeVarTuple

import anyio

T = TypeVar("T")
Ts = TypeVarTuple("Ts")


def run(work: Callable[[*Ts], Awaitable[T]], *given: *Ts, uvloop: bool = False) -> T:
    """`anyio.run` in a fresh context: in that of the tests, fixtures have noted that a loop runs already."""
    return Context().run(lambda: anyio.run(work, *given, backend_options={"use_uvloop": uvloop}))
