"""The way of one process to the servers: a relay for each, which can be cut, stalled, or lose a message."""

import asyncio
import socket
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Final, Literal, cast

import anyio
from anyio.abc import TaskGroup

HOST: Final = "127.0.0.1"
CONNECT_S: Final = 2.0

Verb = Literal[b"PUB ", b"MSG "]
"""Of a message to the server, and of one from it."""


class Line:
    """All relays of one process."""

    def __init__(self, relays: Sequence["_Relay"]) -> None:
        self._relays = relays

    @property
    def url(self) -> str:
        """Where the process connects."""
        return ",".join(f"nats://{HOST}:{relay.port}" for relay in self._relays)

    def cut(self) -> None:
        """Break all connections; they may be made again at once."""
        for relay in self._relays:
            relay.cut()

    def lose_next(self, verb: Verb) -> None:
        """Lose the next message of one direction, and the connection with it."""
        for relay in self._relays:
            relay.losing = verb

    async def close(self) -> None:
        """Break all connections and refuse new ones until `open`."""
        for relay in self._relays:
            await relay.close()

    async def open(self) -> None:
        """Take connections again."""
        for relay in self._relays:
            await relay.open()

    def end(self) -> None:
        """Break all connections for good."""
        for relay in self._relays:
            relay.end()

    def stall(self) -> None:
        """Pass nothing on, and keep the connections, until `flow`: neither side is told of anything."""
        for relay in self._relays:
            relay.stall(True)

    def flow(self) -> None:
        """Pass on again what came meanwhile, and all that comes."""
        for relay in self._relays:
            relay.stall(False)


@asynccontextmanager
async def lines(ports: Sequence[int], number: int) -> AsyncIterator[list[Line]]:
    """So many ways to local servers, while the block lasts."""
    async with anyio.create_task_group() as tasks:
        made = [Line([_Relay(port, tasks) for port in ports]) for _ in range(number)]
        try:
            for line in made:
                await line.open()
            yield made
        finally:
            for line in made:
                line.end()
            tasks.cancel_scope.cancel()


class _Relay:
    """To one server."""

    def __init__(self, server_port: int, tasks: TaskGroup) -> None:
        self._server_port = server_port
        self._tasks = tasks
        self._ends: set[_End] = set()
        self._reserved = _bound(0)
        self._server: asyncio.Server | None = None
        self.port: Final[int] = self._reserved.getsockname()[1]
        self.losing: Verb | None = None
        self.stalled = False

    def taken(self) -> "_End":
        """A process connects: so do we, to the server."""
        client = _End(self, b"PUB ")
        self._tasks.start_soon(self._connect, client)
        return client

    async def _connect(self, client: "_End") -> None:
        server = _End(self, b"MSG ")
        client.peer, server.peer = server, client
        try:
            with anyio.fail_after(CONNECT_S):
                await asyncio.get_running_loop().create_connection(lambda: server, HOST, self._server_port)
        except (OSError, TimeoutError):
            client.abort()
            return
        client.flow()

    def add(self, end: "_End") -> None:
        """A connection stands."""
        self._ends.add(end)

    def drop(self, end: "_End") -> None:
        """A connection is gone."""
        self._ends.discard(end)

    async def open(self) -> None:
        """See `Line.open`."""
        if self._server is None:
            self._server = await asyncio.get_running_loop().create_server(self.taken, sock=self._reserved)

    async def close(self) -> None:
        """See `Line.close`: a port that is bound and not listened on refuses."""
        self.end()
        with anyio.fail_after(CONNECT_S):
            while self._server is not None:
                try:
                    self._reserved = _bound(self.port)
                except OSError:  # the loop has not closed it yet
                    await anyio.sleep(0.01)
                else:
                    self._server = None

    def end(self) -> None:
        """Take no more connections and break those that stand."""
        if self._server is not None:
            self._server.close()
        self.cut()

    def cut(self) -> None:
        """See `Line.cut`."""
        for end in tuple(self._ends):
            end.abort()

    def stall(self, stalled: bool) -> None:
        """See `Line.stall`."""
        self.stalled = stalled
        for end in tuple(self._ends):
            end.flow()


def _bound(port: int) -> socket.socket:
    """A port of ours; 0: any that is free."""
    reserved = socket.socket()
    reserved.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        reserved.bind((HOST, port))
    except OSError:
        reserved.close()
        raise
    return reserved


class _End(asyncio.Protocol):
    """One of the two connections of a pair; what it reads goes to its peer."""

    def __init__(self, relay: _Relay, verb: Verb) -> None:
        self._relay = relay
        self._verb: Verb = verb
        self._transport: asyncio.Transport | None = None
        self._full = False
        self._gone = False
        self._reading = True
        self.peer: _End | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        if self._gone:  # given up meanwhile
            self._transport.abort()
            return
        self._relay.add(self)
        self.flow()

    def data_received(self, data: bytes) -> None:
        if self._relay.losing == self._verb and data.find(self._verb) >= 0:
            self._relay.losing = None
            self.abort()
        elif self.peer is not None and self.peer._transport is not None:
            self.peer._transport.write(data)

    def connection_lost(self, exc: Exception | None) -> None:
        self._transport = None
        self.abort()

    def pause_writing(self) -> None:
        self._full = True
        if self.peer is not None:
            self.peer.flow()

    def resume_writing(self) -> None:
        self._full = False
        if self.peer is not None:
            self.peer.flow()

    def flow(self) -> None:
        """Read, if what is read can be passed on."""
        peer, transport = self.peer, self._transport
        if transport is None or transport.is_closing():
            return
        wanted = (
            peer is not None and peer._transport is not None and not peer._full and not self._relay.stalled
        )
        if wanted and not self._reading:
            transport.resume_reading()
        elif self._reading and not wanted:
            transport.pause_reading()
        self._reading = wanted

    def abort(self) -> None:
        """End the pair."""
        if self._gone:
            return
        self._gone = True
        self._relay.drop(self)
        if self._transport is not None:
            self._transport.abort()
        if self.peer is not None:
            self.peer.abort()
