"""A receiver of webhooks: a real HTTP server that answers as it is told, stalls, or hangs up."""

import asyncio
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

import anyio
import msgspec


@dataclass
class Request:
    """What came."""

    path: str
    headers: dict[str, str]
    body: bytes

    @property
    def event(self) -> Any:
        return msgspec.json.decode(self.body)

    @property
    def session(self) -> str:
        return str(self.event["session_id"])

    @property
    def sequence(self) -> int:
        return int(self.event["sequence"])


STALL = "stall"
"""Take the request and never answer."""
HANG_UP = "hang up"
OK = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"


def status(code: int, *headers: str) -> bytes:
    """An answer without a body."""
    return "\r\n".join([f"HTTP/1.1 {code} Told", *headers, "content-length: 0", "", ""]).encode()


@dataclass
class Receiver:
    """`answer` decides on each request: bytes to send back, `STALL` or `HANG_UP`."""

    answer: Callable[[Request], bytes | str] = lambda _: OK
    requests: list[Request] = field(default_factory=list)
    taken: list[Request] = field(default_factory=list)
    """Those that were answered with 200."""
    connections: int = 0
    """So many were opened."""
    port: int = 0
    scheme: str = "http"

    @property
    def url(self) -> str:
        return f"{self.scheme}://127.0.0.1:{self.port}/hooks"

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection."""
        self.connections += 1
        with suppress(OSError, asyncio.IncompleteReadError):
            while head := await reader.readuntil(b"\r\n\r\n"):
                first, *lines = head.decode().strip().split("\r\n")
                headers = {
                    name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)
                }
                body = await reader.readexactly(int(headers.get("content-length", "0")))
                request = Request(first.split()[1], headers, body)
                self.requests.append(request)
                answer = self.answer(request)
                if answer == STALL:
                    await reader.read()
                    break
                if answer == HANG_UP:
                    break
                assert isinstance(answer, bytes)
                if answer == OK:
                    self.taken.append(request)
                writer.write(answer)
                await writer.drain()
        writer.close()


@asynccontextmanager
async def receiver(
    answer: Callable[[Request], bytes | str] = lambda _: OK, tls: ssl.SSLContext | None = None
) -> AsyncIterator[Receiver]:
    """A receiver that listens while the block lasts."""
    found = Receiver(answer, scheme="http" if tls is None else "https")
    connections: set[asyncio.Task[None]] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        connections.add(task)
        try:
            await found.serve(reader, writer)
        except asyncio.CancelledError:
            writer.close()
        finally:
            connections.discard(task)

    server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=tls)
    found.port = server.sockets[0].getsockname()[1]
    try:
        yield found
    finally:
        server.close()
        for task in tuple(connections):
            task.cancel()
        with anyio.CancelScope(shield=True):
            await asyncio.gather(*connections, return_exceptions=True)
            await server.wait_closed()
