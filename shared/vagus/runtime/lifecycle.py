"""Stopping in two phases: the first signal ends intake, the second (or the end of the grace) the work."""

import logging
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import anyio
from anyio.abc import TaskStatus

_log = logging.getLogger(__name__)


class Stop:
    """How far the stop of a process has come."""

    def __init__(self) -> None:
        self.draining = anyio.Event()
        """Set by the first signal: take no new work, finish what runs."""
        self.grace_s: float = 0
        """What running work is given after the first signal; 0 until there is any."""
        self.cut_short = False
        """Work was cancelled: the grace ran out or a second signal came."""
        self.work = anyio.CancelScope()

    def request(self) -> None:
        """Begin the stop; the second request ends it."""
        if self.draining.is_set():
            self.cut_short = True
            self.work.cancel()
            return
        self.draining.set()
        self.work.deadline = anyio.current_time() + self.grace_s


@asynccontextmanager
async def stop_on_signals() -> AsyncIterator[Stop]:
    """Run the body under a `Stop` that SIGTERM and SIGINT drive, until it ends or is cut short.

    Needs the main thread. Work that is cut short sees an ordinary cancellation; it may say last words,
    shielded and bounded.
    """
    stop = Stop()
    async with anyio.create_task_group() as root:
        await root.start(_watch, stop)
        with stop.work:
            yield stop
        if stop.work.cancelled_caught:
            stop.cut_short = stop.cut_short or stop.grace_s > 0
        root.cancel_scope.cancel()


async def _watch(stop: Stop, *, task_status: TaskStatus[None]) -> None:
    with anyio.open_signal_receiver(signal.SIGTERM, signal.SIGINT) as signals:
        task_status.started()
        async for number in signals:
            _log.info(
                "%s: %s", number.name, "ending now" if stop.draining.is_set() else "finishing running work"
            )
            stop.request()
