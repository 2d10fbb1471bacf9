"""Speaking to the server without a client library: whatever the protocol lets through, and more."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import anyio
from anyio.abc import SocketStream

HEADERS = b"NATS/1.0\r\n"
_CONNECT = (
    b'CONNECT {"verbose":false,"pedantic":false,"headers":true,"lang":"raw","version":"0","protocol":1}\r\n'
)


class Raw:
    """One connection."""

    def __init__(self, stream: SocketStream) -> None:
        self._stream = stream

    async def publish(self, subject: bytes, data: bytes = b"", headers: bytes = b"") -> None:
        """Send a message; with `headers`, lines that each end in CR LF."""
        head = HEADERS + headers + b"\r\n" if headers else b""
        verb, sizes = (
            (b"HPUB", b"%d %d" % (len(head), len(head) + len(data))) if head else (b"PUB", b"%d" % len(data))
        )
        await self._stream.send(b"%b %b %b\r\n%b%b\r\n" % (verb, subject, sizes, head, data))

    async def heard(self) -> None:
        """Wait until the server has taken everything so far; raises if it has ended the connection."""
        said = b""
        await self._stream.send(b"PING\r\n")
        with anyio.fail_after(20):
            while b"PONG" not in said:
                said += await self._stream.receive()


@asynccontextmanager
async def raw(port: int) -> AsyncIterator[Raw]:
    """A connection to a local server while the block lasts."""
    async with await anyio.connect_tcp("127.0.0.1", port) as stream:
        await stream.send(_CONNECT)
        yield Raw(stream)
