"""Asking a health port, as those do that watch over processes."""

import socket
from typing import Any

import anyio
import msgspec
from anyio.abc import SocketStream

GET = b"GET %b HTTP/1.1\r\nHost: here\r\n\r\n"


async def probe(port: int, request: bytes) -> tuple[int, Any]:
    """The status and the body of the answer to a request."""
    async with await anyio.connect_tcp("127.0.0.1", port) as stream:
        await stream.send(request)
        return await answer(stream)


async def answer(stream: SocketStream) -> tuple[int, Any]:
    """Status and body of an answer; the connection must end after it."""
    said = b""
    with anyio.fail_after(20):
        try:
            while True:
                said += await stream.receive()
        except anyio.EndOfStream:
            pass
    head, _, body = said.partition(b"\r\n\r\n")
    lines = head.split(b"\r\n")
    assert b"Content-Length: %d" % len(body) in lines
    assert b"Connection: close" in lines
    return int(lines[0].split()[1]), msgspec.json.decode(body)


def free_port() -> int:
    """A port that nobody listens at, for a process that cannot say which one it got."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])
