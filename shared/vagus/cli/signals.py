"""Ending in good order on Ctrl-C and SIGTERM."""

import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import anyio

from vagus.cli.output import note
from vagus.runtime.beside import beside


@asynccontextmanager
async def until_signal(said: str) -> AsyncIterator[anyio.CancelScope]:
    """Run the block until a signal comes, which cancels it and says `said`; more signals change nothing.

    Whether a signal came is told by `cancelled_caught` of the scope that is given.
    """
    running = anyio.CancelScope()
    with anyio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as signals:

        async def watch() -> None:
            async for _ in signals:
                if not running.cancel_called:
                    note(said)
                running.cancel()

        async with beside(watch):
            with running:
                yield running
