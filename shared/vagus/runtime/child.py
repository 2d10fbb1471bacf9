"""A process of ours as a child: started, kept alive, and stopped in bounded time."""

import asyncio
import signal
import sys
from asyncio.subprocess import Process
from collections.abc import Callable, Mapping
from pathlib import Path
from secrets import token_hex
from typing import Final

import anyio

from vagus.runtime.embedded import die_with_parent

BACKOFF_FIRST_S: Final = 0.1
BACKOFF_MOST_S: Final = 5.0
HEALTHY_S: Final = 10.0
"""A process that ran so long starts again at the first back-off."""
LOG_BYTES: Final = 8 * 1024 * 1024
"""A log that is longer when its process starts is set aside as `<name>.log.1`."""
USAGE: Final = 2
"""The exit code that says: starting again cannot help."""


class Child:
    """One process `python -m <module>`, started again whenever it ends.

    It dies with us, does not see our terminal's Ctrl-C, and writes to a log file.
    """

    def __init__(
        self, *, environ: Mapping[str, str], log: Path, module: str, name: str, tell: Callable[[str], None]
    ) -> None:
        self.name: Final = name
        self.log: Final = log
        self.module: Final = module
        self.instance = ""
        """What the running process calls itself in `VAGUS_MEMBERS`; another one each time it starts."""
        self.restarts = 0
        self.hopeless = anyio.Event()
        """Set when it ended saying that starting again cannot help."""
        self._environ = dict(environ)
        self._process: Process | None = None
        self._stopping = anyio.Event()
        self._tell = tell

    @property
    def pid(self) -> int | None:
        """The process id; None while it does not run."""
        running = self._process is not None and self._process.returncode is None
        return self._process.pid if running and self._process is not None else None

    async def keep(self) -> None:
        """Run it, again after each end, until `stop`: a cancellation alone would not let it end in order."""
        delay_s = BACKOFF_FIRST_S
        with anyio.CancelScope(shield=True):
            while not self._stopping.is_set():
                began = anyio.current_time()
                code = await self._run()
                if self._stopping.is_set():
                    return
                if code == USAGE:
                    self.hopeless.set()
                delay_s = BACKOFF_FIRST_S if anyio.current_time() - began > HEALTHY_S else delay_s
                words = "" if code < 0 else f": {self.last_words()}"
                self._tell(f"{self.name} {_ended(code)}{words}; starting it again in {delay_s:g} s")
                with anyio.move_on_after(delay_s):
                    await self._stopping.wait()
                self.restarts += 1
                delay_s = min(delay_s * 2, BACKOFF_MOST_S)

    async def stop(self, grace_s: float) -> None:
        """Ask it to end, force it after `grace_s`, and wait until it has. Idempotent."""
        self._stopping.set()
        process = self._process
        if process is None or process.returncode is not None:
            return
        self.signal(signal.SIGTERM)
        with anyio.move_on_after(grace_s, shield=True):
            await process.wait()
        if process.returncode is None:
            self._tell(f"{self.name} has not stopped within {grace_s:g} s: killing it")
            self.signal(signal.SIGKILL)
            with anyio.CancelScope(shield=True):
                await process.wait()

    def signal(self, number: signal.Signals) -> None:
        """Send a signal to it, if it runs; tests kill with it."""
        if self._process is not None and self._process.returncode is None:
            try:
                self._process.send_signal(number)
            except ProcessLookupError:
                self._tell(f"{self.name} had ended already")

    def last_words(self) -> str:
        """The last line of its log."""
        if not self.log.exists():
            return "it said nothing"
        with self.log.open("rb") as file:
            file.seek(max(0, file.seek(0, 2) - 4096))
            lines = file.read().decode(errors="replace").split("\n")
        return next((line.strip() for line in reversed(lines) if line.strip()), "it said nothing")

    async def _run(self) -> int:
        self.instance = f"{self.name}-{token_hex(3)}"
        if self.log.exists() and self.log.stat().st_size > LOG_BYTES:
            self.log.replace(self.log.with_suffix(".log.1"))
        with self.log.open("ab") as output:
            self._process = await asyncio.create_subprocess_exec(
                sys.executable,
                "-m",
                self.module,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                env={**self._environ, "VAGUS_INSTANCE": self.instance},
                start_new_session=True,
                preexec_fn=die_with_parent(),
            )
        if self.restarts:
            self._tell(f"{self.name} runs again, pid {self._process.pid}")
        if self._stopping.is_set():  # while it was being made
            self.signal(signal.SIGKILL)
        return await self._process.wait()


def _ended(code: int) -> str:
    return f"was killed by {signal.Signals(-code).name}" if code < 0 else f"ended with exit code {code}"
