"""A process of ours as a test starts, kills, stops and drains it."""

import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path

import anyio

READY_S = 20.0


class RealProcess:
    """`python -m <module>`, with its log in a file."""

    def __init__(self, module: str, environ: Mapping[str, str], log: Path) -> None:
        self.log = log
        with log.open("wb") as output:
            self._process = subprocess.Popen(
                [sys.executable, "-m", module],
                env={**os.environ, **environ},
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
            )

    async def ready(self, timeout_s: float = READY_S) -> None:
        """Wait until it says so."""
        with anyio.fail_after(timeout_s):
            while " is ready" not in self.log.read_text():
                assert self._process.poll() is None, self.log.read_text()
                await anyio.sleep(0.02)

    async def ended(self, timeout_s: float = 20.0) -> int:
        """Wait for its end; its exit code, negative for a signal."""
        with anyio.fail_after(timeout_s):
            while self._process.poll() is None:  # noqa: ASYNC110 - subprocess has no event to wait for
                await anyio.sleep(0.02)
        return int(self._process.returncode)

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._process.pid

    @property
    def runs(self) -> bool:
        """Whether it has not ended."""
        return self._process.poll() is None

    def send(self, number: signal.Signals) -> None:
        """Send it a signal, if it runs."""
        if self._process.poll() is None:
            self._process.send_signal(number)


@asynccontextmanager
async def process(
    module: str, environ: Mapping[str, str], log: Path, *, ready: bool = True
) -> AsyncIterator[RealProcess]:
    """Run a process while the block lasts, which begins when it is `ready`; killed at the end if it runs."""
    running = RealProcess(module, environ, log)
    try:
        if ready:
            await running.ready()
        yield running
    finally:
        running.send(signal.SIGKILL)
        with anyio.CancelScope(shield=True):
            await running.ended()
