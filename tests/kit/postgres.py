"""A real PostgreSQL server that a test stops and starts; where none is installed, its tests are skipped."""

import os
import pwd
import shutil
import signal
import subprocess
import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path

import anyio
import asyncpg
import pytest
from anyio.to_thread import run_sync

from tests.kit.cluster import free_ports
from tests.kit.waiting import eventually

PROGRAMS = ("initdb", "postgres")
ANSWERS_S = 30.0


def missing() -> str | None:
    """Why there is no server to test with; None if there is one."""
    absent = [name for name in PROGRAMS if program(name) is None]
    if absent:
        return (
            f"no PostgreSQL server: {' and '.join(absent)} found neither on the PATH nor under "
            "/usr/lib/postgresql (on Debian: apt-get install postgresql)"
        )
    return None


def program(name: str) -> str | None:
    """Where a program of the server is; Debian keeps them off the PATH."""
    installed = sorted(Path("/usr/lib/postgresql").glob(f"*/bin/{name}"))
    return shutil.which(name) or (str(installed[-1]) if installed else None)


def _owner() -> str | None:
    """Whom the server runs as: it refuses to be root."""
    if os.geteuid() != 0:
        return None
    names = {entry.pw_name for entry in pwd.getpwall()}
    return "postgres" if "postgres" in names else "nobody"


class PostgresServer:
    """One server with its data in a folder of its own, on 127.0.0.1."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.port = free_ports(1)[0]
        self.user = _owner()
        self.dsn = f"postgresql://vagus@127.0.0.1:{self.port}/postgres"
        self._process: subprocess.Popen[bytes] | None = None

    def create(self) -> None:
        """Make its data."""
        if self.user is not None:
            shutil.chown(self.folder, self.user)
        self._run(
            "initdb", "-D", "data", "-U", "vagus", "-A", "trust", "-E", "UTF8", "--no-sync", "--locale=C"
        )

    async def start(self) -> None:
        """Start it and wait until it answers."""
        options = {
            "listen_addresses": "127.0.0.1", "port": str(self.port), "fsync": "off", "max_connections": "20",
            "shared_buffers": "16MB", "unix_socket_directories": "",
        }  # fmt: skip
        self._launch("-D", "data", *(f"--{name}={value}" for name, value in options.items()))
        await eventually(self._answers, timeout_s=ANSWERS_S, every_s=0.05)

    async def crash(self) -> None:
        """End it at once, with nothing put in order."""
        await self._end(signal.SIGQUIT)

    async def stop(self) -> None:
        """End it; who is connected is thrown out."""
        await self._end(signal.SIGINT)

    @asynccontextmanager
    async def connection(self) -> AsyncIterator[asyncpg.Connection]:
        """A connection of the test's own."""
        found = await asyncpg.connect(self.dsn)
        try:
            yield found
        finally:
            await found.close()

    async def _answers(self) -> bool:
        assert self._process is not None
        assert self._process.poll() is None, (self.folder / "log").read_text()
        try:
            async with self.connection():
                return True
        except (OSError, asyncpg.PostgresError):
            return False

    async def _end(self, how: signal.Signals) -> None:
        process, self._process = self._process, None
        if process is not None:
            process.send_signal(how)
            with anyio.CancelScope(shield=True):
                await run_sync(process.wait, ANSWERS_S)

    def _launch(self, *arguments: str) -> None:
        found = program("postgres")
        assert found is not None
        with (self.folder / "log").open("ab") as log:
            self._process = subprocess.Popen(
                [found, *arguments],
                cwd=self.folder,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                user=self.user,
                start_new_session=True,
            )

    def _run(self, name: str, *arguments: str) -> None:
        found = program(name)
        assert found is not None
        done = subprocess.run(
            [found, *arguments], cwd=self.folder, user=self.user, capture_output=True, check=False
        )
        assert done.returncode == 0, done.stderr.decode()


@contextmanager
def _folder() -> Iterator[Path]:
    """One that the server's user may enter, which those of pytest do not allow."""
    folder = Path(tempfile.mkdtemp(prefix="vagus-postgres-"))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@asynccontextmanager
async def running() -> AsyncIterator[PostgresServer]:
    """A server while the block lasts."""
    with _folder() as folder:
        server = PostgresServer(folder)
        await run_sync(server.create)
        await server.start()
        try:
            yield server
        finally:
            await server.stop()


@pytest.fixture(scope="session")
async def postgres_server(anyio_backend: str) -> AsyncIterator[PostgresServer]:
    """One server for the run; a test may restart it, and takes a schema of its own."""
    if (reason := missing()) is not None:
        pytest.skip(reason)
    async with running() as server:
        yield server
