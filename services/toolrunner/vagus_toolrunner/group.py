"""A command with all that it starts: one process group, which ends as a whole.

It ends with its command (what that left in the background goes too), with the wait for it (timeout, cancel),
and with the runner, even one that is killed: see `reaper`. What has left the group, as daemons do, ends with
it: it is known by a mark in its environment.
"""

import asyncio
import os
import secrets
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import IO, Final

import anyio
from anyio.to_thread import run_sync

from vagus_toolrunner.reaper import MARK, kill_strays

END_S: Final = 1.0
"""How long a killed group may take to be gone, and its pipes to run dry, before we look away."""

_REAPER: Final = Path(__file__).with_name("reaper.py")


class Reaper:
    """Our end of the reaper: tells it what lives. It is started when it is first needed."""

    def __init__(self) -> None:
        self._groups: dict[str, int] = {}
        self._process: subprocess.Popen[bytes] | None = None

    def watch(self, mark: str, group: int = 0) -> None:
        """From now on whatever carries `mark` dies with us, and its group, once that is known."""
        self._groups[mark] = group
        if self._process is None:
            self._start()
        else:
            self._tell(f"+{mark} {group}\n")

    def forget(self, mark: str) -> None:
        """It has ended; the group's number may soon be another's."""
        self._groups.pop(mark, None)
        self._tell(f"-{mark}\n")

    def close(self) -> None:
        """End it; what is still watched is killed. Blocks for the few milliseconds that this takes."""
        process, self._process = self._process, None
        if process is not None and process.stdin is not None:
            process.stdin.close()
            process.wait(END_S)

    def _start(self) -> None:
        self._process = subprocess.Popen(  # noqa: S603 -- a file of ours
            [sys.executable, "-I", "-S", str(_REAPER)],
            bufsize=0,
            start_new_session=True,  # a Ctrl-C at the terminal is not for it
            stdin=subprocess.PIPE,
        )
        self._tell("".join(f"+{mark} {group}\n" for mark, group in self._groups.items()))

    def _tell(self, lines: str) -> None:
        if self._process is None or self._process.stdin is None:
            return
        try:
            self._process.stdin.write(lines.encode())
        except BrokenPipeError:  # somebody killed it: a new one is told of all that lives
            self._process.stdin.close()
            self._process.wait(END_S)
            self._start()


async def run(
    command: Sequence[str],
    *,
    cwd: Path,
    env: Mapping[str, str],
    on_stderr: Callable[[bytes], None],
    on_stdout: Callable[[bytes], None],
    reaper: Reaper,
) -> int:
    """Run `command` to its end and return its exit status: minus the signal's number if a signal ended it.

    Output goes to the callbacks piece by piece, as it comes. Input is empty. When this returns or is
    cancelled, nothing of the group lives any more, nor what has left it.

    Raises:
        OSError: It cannot be started.
        ValueError: A NUL or a lone surrogate in it.
    """
    mark = secrets.token_hex(16)
    reaper.watch(mark)  # before there is anything: from the start on we may be killed
    try:
        process = _start(command, cwd, {**env, MARK: mark})
    except BaseException:
        reaper.forget(mark)
        raise
    reaper.watch(mark, process.pid)
    streams: list[_Stream] = []
    ended = _end_of(process)
    try:
        for pipe, sink in ((process.stdout, on_stdout), (process.stderr, on_stderr)):
            if pipe is not None:
                streams.append(await _Stream.open(pipe, sink))
        await ended.wait()
    finally:
        _kill(process)
        with anyio.move_on_after(END_S, shield=True):
            await run_sync(kill_strays, [mark], abandon_on_cancel=True)
            await ended.wait()
            for stream in streams:
                await stream.dry.wait()
        for stream in streams:
            stream.close()
        process.poll()
        reaper.forget(mark)
    return process.wait(END_S)


def _start(command: Sequence[str], cwd: Path, env: Mapping[str, str]) -> "subprocess.Popen[bytes]":
    """Not asyncio's own, which reaps before the group can be killed. Blocks for about a millisecond."""
    return subprocess.Popen(  # noqa: S603 -- running commands is what we are for
        command,
        bufsize=0,
        cwd=cwd,
        env=env,
        start_new_session=True,
        stderr=subprocess.PIPE,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
    )


class _Stream(asyncio.Protocol):
    """One pipe of the command."""

    def __init__(self, sink: Callable[[bytes], None]) -> None:
        self._sink = sink
        self._transport: asyncio.BaseTransport | None = None
        self.dry = asyncio.Event()

    @classmethod
    async def open(cls, pipe: IO[bytes], sink: Callable[[bytes], None]) -> "_Stream":
        _, stream = await asyncio.get_running_loop().connect_read_pipe(lambda: cls(sink), pipe)
        return stream

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        self._sink(data)

    def connection_lost(self, exc: Exception | None) -> None:
        self.dry.set()

    def close(self) -> None:
        if self._transport is not None:
            self._transport.close()


def _end_of(process: "subprocess.Popen[bytes]") -> asyncio.Event:
    """Set when the command itself has ended. Where the system can say so, it is not reaped before."""
    loop = asyncio.get_running_loop()
    ended = asyncio.Event()
    if not hasattr(os, "pidfd_open"):
        threading.Thread(
            target=lambda: (process.wait(), loop.call_soon_threadsafe(ended.set)), daemon=True
        ).start()
        return ended
    descriptor = os.pidfd_open(process.pid)

    def on_end() -> None:
        loop.remove_reader(descriptor)
        os.close(descriptor)
        ended.set()

    loop.add_reader(descriptor, on_end)
    return ended


def _kill(process: "subprocess.Popen[bytes]") -> None:
    """Kill whatever of the group lives. While its command is not reaped the number cannot be another's."""
    try:
        os.killpg(process.pid, signal.SIGKILL)
    except (ProcessLookupError, PermissionError):
        return  # nothing lives; of a group of zombies macOS says the latter
