"""Records what a program does to a folder: every change and every sync, with times, as the kernel takes them.

`python -m tests.kit.tracer RECORD FOLDER PROGRAM [ARGUMENT...]` becomes PROGRAM, with the same process id,
while a process of its own watches its system calls by ptrace. A seccomp filter stops it only at those that
may change files, so that it keeps most of its speed. Linux does this for every user, without tools.

A call is written down before the program goes on: what the program says to others after a sync, they hear
after the sync's time in the record.
"""

import ctypes
import os
import platform
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final, Literal, TypeAlias

import msgspec

Verb: TypeAlias = Literal["make", "create", "write", "truncate", "sync", "rename", "remove"]


class Operation(msgspec.Struct, frozen=True, array_like=True):
    """Something done to the folder, when it was done; `make` is of folders, `create` of files."""

    began_ns: int
    ended_ns: int
    """Both by the clock that `time.monotonic_ns` reads."""
    verb: Verb
    path: str
    to: str = ""
    """Of a rename."""
    offset: int = 0
    """Of a write; the length that a truncate leaves."""
    data: bytes = b""
    synced: bool = False
    """A write to a file that was opened to be written through."""


def read(record: Path) -> Iterator[Operation]:
    """What has been recorded."""
    data = memoryview(record.read_bytes())
    while len(data) >= 4:
        size = int.from_bytes(data[:4], "little")
        yield msgspec.msgpack.decode(data[4 : 4 + size], type=Operation)
        data = data[4 + size :]


def missing() -> str | None:
    """What keeps programs from being traced here; None if nothing does."""
    if sys.platform != "linux":
        return f"programs are traced by ptrace, which {sys.platform} does not have: Linux is needed"
    if platform.machine() not in _CALLS:
        return f"the system calls of {platform.machine()} are not known to tests/kit/tracer.py"
    command = [sys.executable, "-m", "tests.kit.tracer", os.devnull, "/nowhere", sys.executable, "-c", ""]
    tried = subprocess.run(command, cwd=_HOME, capture_output=True, text=True, check=False, timeout=60)
    return None if tried.returncode == 0 else (tried.stderr.strip().splitlines() or ["no reason given"])[-1]


_HOME: Final = Path(__file__).parents[2]
_CALLS: Final = {
    "x86_64": {
        1: "write", 18: "pwrite", 74: "fsync", 75: "fsync", 76: "truncate", 77: "ftruncate", 257: "openat",
        258: "mkdirat", 263: "unlinkat", 264: "renameat", 316: "renameat", 82: "rename", 83: "mkdir",
        84: "unlink", 87: "unlink",
    },
    "aarch64": {
        64: "write", 68: "pwrite", 82: "fsync", 83: "fsync", 45: "truncate", 46: "ftruncate", 56: "openat",
        34: "mkdirat", 35: "unlinkat", 38: "renameat", 276: "renameat",
    },
}  # fmt: skip
"""The calls that are looked at. What changes a file in another way is missing in the record."""

_SEIZE, _CONTINUE, _TO_EXIT, _LISTEN, _INFO = 0x4206, 7, 24, 0x4208, 0x420E
_OPTIONS: Final = 0x1 | 0x2 | 0x4 | 0x8 | 0x80 | 0x100000
"""Mark stops at calls; follow forks, vforks and clones; stop where the filter says; die with the tracer."""
_EVENT_SECCOMP, _EVENT_STOP = 7, 128
_AT_CALL: Final = signal.SIGTRAP | 0x80
_EVERY_THREAD: Final = 0x40000000
_STOPS: Final = (signal.SIGSTOP, signal.SIGTSTP, signal.SIGTTIN, signal.SIGTTOU)
_SET_SECCOMP, _NO_NEW_PRIVILEGES, _SET_TRACER = 22, 38, 0x59616D61


class _Call(ctypes.Structure):
    """The kernel's `ptrace_syscall_info` at the entry of a call; at its exit `number` is what it returned."""

    _fields_ = (
        ("kind", ctypes.c_uint8),
        ("architecture", ctypes.c_uint32),
        ("instruction", ctypes.c_uint64),
        ("stack", ctypes.c_uint64),
        ("number", ctypes.c_int64),
        ("arguments", ctypes.c_uint64 * 6),
        ("data", ctypes.c_uint64),
    )


class _Instruction(ctypes.Structure):
    _fields_ = (
        ("code", ctypes.c_uint16),
        ("yes", ctypes.c_uint8),
        ("no", ctypes.c_uint8),
        ("k", ctypes.c_uint32),
    )


class _Filter(ctypes.Structure):
    _fields_ = (("length", ctypes.c_ushort), ("instructions", ctypes.POINTER(_Instruction)))


_libc = ctypes.CDLL(None, use_errno=True)
_libc.ptrace.argtypes = [ctypes.c_long, ctypes.c_long, ctypes.c_void_p, ctypes.c_void_p]
_libc.ptrace.restype = ctypes.c_long


def _ptrace(request: int, thread: int, address: int = 0, data: int = 0) -> None:
    if _libc.ptrace(request, thread, address, data) < 0:
        error = ctypes.get_errno()
        raise OSError(error, f"ptrace: {os.strerror(error)}")


class _Pending(msgspec.Struct):
    """A call that has begun."""

    name: str
    began_ns: int
    path: str
    to: str = ""
    offset: int = 0
    data: bytes = b""
    flags: int = 0


class _Tracer:
    """Watches one program and all its threads until it ends."""

    def __init__(self, program: int, folder: str, record: Path) -> None:
        self._program = program
        self._folder = folder
        self._calls = _CALLS[platform.machine()]
        self._pending: dict[int, _Pending] = {}
        self._record = record.open("wb", buffering=0)

    def run(self) -> None:
        while True:
            try:
                thread, status = os.waitpid(-1, _EVERY_THREAD)
            except ChildProcessError:
                return
            if os.WIFSTOPPED(status):
                try:
                    self._stopped(thread, os.WSTOPSIG(status), status >> 16)
                except ProcessLookupError:
                    continue  # killed while it stood still

    def _stopped(self, thread: int, number: int, event: int) -> None:
        if event == _EVENT_SECCOMP:
            pending = self._entered(thread)
            if pending is None:
                _ptrace(_CONTINUE, thread)
            else:
                self._pending[thread] = pending
                _ptrace(_TO_EXIT, thread)
        elif number == _AT_CALL:
            self._left(self._pending.pop(thread), self._call(thread).number, thread)
            _ptrace(_CONTINUE, thread)
        elif event == _EVENT_STOP and number in _STOPS:
            _ptrace(_LISTEN, thread)
        else:
            _ptrace(_CONTINUE, thread, data=0 if event else number)

    def _call(self, thread: int) -> _Call:
        call = _Call()
        _ptrace(_INFO, thread, ctypes.sizeof(call), ctypes.addressof(call))
        return call

    def _entered(self, thread: int) -> _Pending | None:
        """The call that begins, if it is about the folder."""
        call = self._call(thread)
        name, (first, second, third, fourth, *_) = self._calls[call.number], call.arguments
        now = time.monotonic_ns()
        match name:
            case "write" | "pwrite" | "fsync" | "ftruncate":
                pending = _Pending(name, now, self._opened(first))
                if not self._ours(pending):
                    return None
                if name in ("write", "pwrite"):
                    pending.data, pending.offset = self._bytes(second, third), fourth
                    pending.flags = first
                elif name == "ftruncate":
                    pending.offset = second
            case "openat":
                if not third & (os.O_CREAT | os.O_TRUNC):
                    return None
                pending = _Pending(name, now, self._named(first, second), flags=third)
            case "mkdirat" | "unlinkat":
                pending = _Pending(name, now, self._named(first, second))
            case "renameat":
                pending = _Pending(name, now, self._named(first, second), self._named(third, fourth))
            case "rename":
                pending = _Pending(name, now, self._named(None, first), self._named(None, second))
            case "truncate":
                pending = _Pending(name, now, self._named(None, first), offset=second)
            case _:
                pending = _Pending(name, now, self._named(None, first))
        return pending if self._ours(pending) else None

    def _left(self, call: _Pending, result: int, thread: int) -> None:
        """A call about the folder is done."""
        if result < 0:
            return
        match call.name:
            case "write" | "pwrite":
                info = dict(line.split(":\t") for line in self._about(call.flags).splitlines()[:2])
                offset = int(info["pos"]) - result if call.name == "write" else call.offset
                synced = bool(int(info["flags"], 8) & os.O_DSYNC)
                self._say(call, "write", offset=offset, data=call.data[:result], synced=synced)
            case "fsync":
                self._say(call, "sync")
            case "truncate" | "ftruncate":
                self._say(call, "truncate", offset=call.offset)
            case "openat":
                if call.flags & os.O_CREAT:
                    self._say(call, "create")
                if call.flags & os.O_TRUNC:
                    self._say(call, "truncate")
            case "mkdir" | "mkdirat":
                self._say(call, "make")
            case "rename" | "renameat":
                self._say(call, "rename")
            case _:
                self._say(call, "remove")

    def _say(
        self, call: _Pending, verb: Verb, *, offset: int = 0, data: bytes = b"", synced: bool = False
    ) -> None:
        ended_ns = time.monotonic_ns()
        said = Operation(call.began_ns, ended_ns, verb, call.path, call.to, offset, data, synced)
        encoded = msgspec.msgpack.encode(said)
        self._record.write(len(encoded).to_bytes(4, "little") + encoded)

    def _ours(self, call: _Pending) -> bool:
        return any(
            path == self._folder or path.startswith(self._folder + "/") for path in (call.path, call.to)
        )

    def _opened(self, descriptor: int) -> str:
        try:
            return str(Path(f"/proc/{self._program}/fd/{descriptor}").readlink())
        except FileNotFoundError:
            return ""

    def _about(self, descriptor: int) -> str:
        return Path(f"/proc/{self._program}/fdinfo/{descriptor}").read_text()

    def _named(self, folder: int | None, address: int) -> str:
        """A path in the program's memory, made absolute."""
        raw = self._bytes(address, 4096)
        name = os.fsdecode(raw.partition(b"\0")[0])
        descriptor = ctypes.c_int32(-1 if folder is None else folder).value
        if name.startswith("/"):
            return os.path.normpath(name)
        base = self._opened(descriptor) if descriptor >= 0 else Path(f"/proc/{self._program}/cwd").readlink()
        return os.path.normpath(f"{base}/{name}")

    def _bytes(self, address: int, size: int) -> bytes:
        """A piece of the program's memory, as much of it as there is."""
        memory = os.open(f"/proc/{self._program}/mem", os.O_RDONLY)
        try:
            return os.pread(memory, size, address)
        finally:
            os.close(memory)


def _filtered() -> None:
    """Have this process and what it becomes stop at the calls that are looked at."""
    calls = sorted(_CALLS[platform.machine()])
    code = [_Instruction(0x20, 0, 0, 0)]  # load the number of the call
    code += [_Instruction(0x15, len(calls) - place, 0, call) for place, call in enumerate(calls)]
    code += [_Instruction(0x06, 0, 0, 0x7FFF0000), _Instruction(0x06, 0, 0, 0x7FF00000)]  # let pass; stop
    block = (_Instruction * len(code))(*code)
    program = _Filter(len(code), ctypes.cast(block, ctypes.POINTER(_Instruction)))
    if _libc.prctl(_NO_NEW_PRIVILEGES, 1, 0, 0, 0) or _libc.prctl(
        _SET_SECCOMP, 2, ctypes.byref(program), 0, 0
    ):
        sys.exit(f"this machine refuses a seccomp filter: {os.strerror(ctypes.get_errno())}")


def _watched(record: Path, folder: str) -> None:
    """Have a process of its own, not a child of what we become, watch us; returns when it does."""
    ours, theirs = os.pipe()
    _libc.prctl(_SET_TRACER, ctypes.c_ulong(-1 & (2**64 - 1)), 0, 0, 0)  # Yama lets only named ones trace
    program = os.getpid()
    if (child := os.fork()) == 0:
        if os.fork():
            os._exit(0)
        try:
            _ptrace(_SEIZE, program, data=_OPTIONS)
            tracer = _Tracer(program, folder, record)
        except OSError as error:
            os.write(theirs, str(error).encode())
            os._exit(1)
        os.close(theirs)
        os.close(ours)
        try:
            tracer.run()
        finally:
            os._exit(0)
    os.close(theirs)
    os.waitpid(child, 0)
    if refusal := os.read(ours, 1000):
        sys.exit(f"this machine refuses to trace: {refusal.decode()}")
    os.close(ours)


def main(record: str, folder: str, *command: str) -> None:
    """Become the command, watched."""
    _watched(Path(record), folder)
    _filtered()
    os.execv(command[0], command)


def wrapper(program: Path, record: Path, folder: Path) -> Path:
    """A program that is `program`, watched: it stands beside the record."""
    script = record.with_suffix(".sh")
    line: Sequence[object] = (sys.executable, "-m", "tests.kit.tracer", record, folder, program)
    quoted = " ".join(f"'{part}'" for part in line)
    script.write_text(f"#!/bin/sh\nPYTHONPATH='{_HOME}' exec {quoted} \"$@\"\n")
    script.chmod(0o755)
    return script


if __name__ == "__main__":
    main(*sys.argv[1:])
