"""`vagus up` as a process of its own, as at a terminal."""

import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path

import anyio
import msgspec
from anyio.abc import Process

ENVIRON = {name: value for name, value in os.environ.items() if not name.startswith("VAGUS_")}
READY_S = 60.0
STOPPED_S = 10.0
"""By then it has stopped: that is promised."""


class Up(msgspec.Struct):
    """What `vagus up --json` says."""

    server: str
    processes: list[dict[str, object]]

    @property
    def pids(self) -> list[int]:
        return [int(str(process["pid"])) for process in self.processes]


class Terminal:
    """It runs in a process group of its own."""

    def __init__(self, process: Process, log: Path) -> None:
        self.process = process
        self._log = log

    async def ready(self) -> Up:
        """Wait until it says that everything runs."""
        assert self.process.stdout is not None
        line = b""
        try:
            with anyio.fail_after(READY_S):
                while not line.endswith(b"\n"):
                    line += await self.process.stdout.receive()
        except anyio.EndOfStream:
            raise AssertionError(self._log.read_text()) from None
        return msgspec.json.decode(line, type=Up)

    def ctrl_c(self) -> None:
        """Send what a terminal sends to all of the group."""
        os.killpg(self.process.pid, signal.SIGINT)

    async def stopped(self) -> int:
        """Its exit code; it must come in time."""
        with anyio.fail_after(STOPPED_S):
            return await self.process.wait()


@asynccontextmanager
async def up(store: Path, *arguments: str, environ: Mapping[str, str] = ENVIRON) -> AsyncIterator[Terminal]:
    """Run it while the block lasts; it is killed at the end if it still runs."""
    command = [sys.executable, "-c", "from vagus.cli import main; main()", "up", "--store", str(store)]
    options = ["--port", "0", "--durability", "fast", "--json", *arguments]
    log = store.with_name(f"{store.name}.log")
    with log.open("ab") as output:
        running = await anyio.open_process(
            [*command, *options], env=environ, stdin=subprocess.DEVNULL, stderr=output, start_new_session=True
        )
    async with running as process:
        try:
            yield Terminal(process, log)
        finally:
            if process.returncode is None:
                process.kill()


def alive(pid: int) -> bool:
    """Whether a process runs."""
    try:
        os.kill(pid, 0)
        return Path(f"/proc/{pid}/stat").read_text().split()[2] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False
