"""A place for a process of ours: whoever sits there is killed, frozen or drained, and another one follows."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import anyio

import chaos
from chaos.line import Line
from chaos.skewed import CLOCK, set_clock
from vagus.runtime.embedded import die_with_parent

MODULES: Final = {
    "kernel": "vagus_kernel",
    "gate": "vagus_policygate",
    "runner": "vagus_toolrunner",
    "approver": "vagus_approver",
    "relay": "vagus_relay",
}
LOOK_S: Final = 0.05
DRAIN_S: Final = 120.0
"""A drained process has ended by then: it promises that within its grace of 5 s and some last words."""
READY_S: Final = 240.0
_FALSE_START_S: Final = 1.0
KILLED: Final = -signal.SIGKILL


class Stuck(Exception):
    """Something does not come to its end within a very generous time."""


class Seat:
    """One process at a time, with its own line to the servers and its own clock."""

    def __init__(
        self, *, environ: Mapping[str, str], folder: Path, line: Line, place: int, role: str
    ) -> None:
        self.name: Final = f"{role}-{place}"
        self.role: Final = role
        self.line: Final = line
        self._environ = environ
        self._folder = folder
        self._clock = folder / f"{self.name}.clock"
        self._made = 0
        self._process: subprocess.Popen[bytes] | None = None
        self._held = False
        self.restarts = 0
        """Of processes that ended by themselves, such as for want of a server when they started."""
        set_clock(self._clock, 0.0)

    @property
    def log(self) -> Path:
        """Of the process that sits here."""
        return self._folder / f"{self.name}.{self._made}.log"

    def start(self, fault: str = "") -> None:
        """A new process takes the seat; it is to die at `fault`."""
        self._made += 1
        root = str(Path(chaos.__file__).parents[1])
        environ = {
            **self._environ,
            "PYTHONPATH": os.pathsep.join(filter(None, (root, self._environ.get("PYTHONPATH")))),
            CLOCK: str(self._clock),
            "VAGUS_SERVER": self.line.url,
            "VAGUS_INSTANCE": f"{self.name}-{self._made}",
            "VAGUS_FAULT": fault,
        }
        with self.log.open("wb") as output:
            self._process = subprocess.Popen(  # noqa: S603 -- our own command line
                [sys.executable, "-m", "chaos.skewed", MODULES[self.role]],
                env=environ,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                preexec_fn=die_with_parent(),
            )

    async def ready(self) -> None:
        """Wait until the process says that it works; one that ended before that is followed by another."""
        with anyio.move_on_after(READY_S):
            while not self._says_ready():
                if not self.runs:
                    self.restarts += 1
                    await anyio.sleep(_FALSE_START_S)
                    self.start()
                await anyio.sleep(LOOK_S)
            return
        raise Stuck(f"{self.name} is not ready after {READY_S:g} s: see {self.log}")

    def _says_ready(self) -> bool:
        return b" is ready" in self.log.read_bytes()

    @property
    def runs(self) -> bool:
        """Whether somebody sits here."""
        return self._process is not None and self._process.poll() is None

    def send(self, number: signal.Signals) -> None:
        """Send the process a signal, if there is one."""
        if self._process is not None and self._process.poll() is None:
            self._process.send_signal(number)

    async def ended(self, within_s: float) -> int | None:
        """Its exit code, negative for a signal; None: it has not ended in time."""
        with anyio.move_on_after(within_s):
            while self.runs:  # noqa: ASYNC110 -- a process gives no event to wait for
                await anyio.sleep(LOOK_S)
        return None if self._process is None else self._process.poll()

    async def kill(self) -> None:
        """End the process at once, and wait for that."""
        self.send(signal.SIGKILL)
        if await self.ended(READY_S) is None:
            raise Stuck(f"{self.name} does not end, though it was killed")

    async def drain(self) -> None:
        """Have the process finish its work and end."""
        self.send(signal.SIGTERM)
        if await self.ended(DRAIN_S) is None:
            raise Stuck(f"{self.name} has not ended {DRAIN_S:g} s after SIGTERM: see {self.log}")

    def set_clock(self, ahead_s: float) -> None:
        """Set the clock of whoever sits here so far ahead, negative: behind."""
        set_clock(self._clock, ahead_s)

    @contextmanager
    def held(self) -> Iterator[None]:
        """While the block lasts, nobody but its owner fills the seat."""
        self._held = True
        try:
            yield
        finally:
            self._held = False

    async def keep(self) -> None:
        """Fill the seat whenever the process has ended by itself, as `vagus up` does; until cancelled."""
        while True:
            await anyio.sleep(_FALSE_START_S)
            if not self.runs and not self._held:
                self.restarts += 1
                self.start()
