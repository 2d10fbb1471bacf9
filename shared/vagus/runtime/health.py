"""Health: a process tells over HTTP whether it turns and whether it takes work, for those that watch over it.

`GET /healthz` is answered with 200 as long as the event loop turns, `GET /readyz` while the process takes
work and else with 503. Both say why as JSON. One request a connection; whoever is slow, long or unreadable is
refused and let go.
"""

import errno
import logging
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from enum import StrEnum
from http import HTTPStatus
from typing import Final

import anyio
import msgspec
from anyio.abc import SocketAttribute, SocketStream

from vagus.contract.errors import SettingsError
from vagus.runtime.beside import beside, first

CLIENTS: Final = 32
"""Connections at a time; one more is closed at once."""
REQUEST_BYTES: Final = 4096
"""Of the request line and the headers."""
REQUEST_S: Final = 5.0
"""From the connection to the end of the answer."""
RETRY_S: Final = 1.0

_HEAD: Final = (
    b"HTTP/1.1 %d %b\r\nContent-Type: application/json\r\nContent-Length: %d\r\nConnection: close\r\n\r\n"
)
_END: Final = b"\r\n\r\n"
_log = logging.getLogger("vagus.health")


class Phase(StrEnum):
    """What a process is doing."""

    STARTING = "starting"
    READY = "ready"
    DISCONNECTED = "disconnected"
    """It works, but has no connection to NATS at this moment."""
    DRAINING = "draining"


class State(msgspec.Struct, frozen=True, kw_only=True):
    """What is answered."""

    status: Phase
    kind: str
    instance: str
    uptime_s: float


class Health:
    """What a process knows of itself."""

    def __init__(self, kind: str, instance: str) -> None:
        self._began = anyio.current_time()
        self._kind = kind
        self._instance = instance
        self.started = False
        """It has begun to take work."""
        self.connected: Callable[[], bool] = _no
        self.draining: Callable[[], bool] = _no

    @property
    def phase(self) -> Phase:
        """As of now."""
        if self.draining():
            return Phase.DRAINING
        if not self.started:
            return Phase.STARTING
        return Phase.READY if self.connected() else Phase.DISCONNECTED

    def state(self) -> State:
        """As of now, to be told."""
        uptime_s = round(anyio.current_time() - self._began, 3)
        return State(status=self.phase, kind=self._kind, instance=self._instance, uptime_s=uptime_s)


@asynccontextmanager
async def listening(health: Health, address: str, port: int) -> AsyncIterator[int]:
    """Answer while the block lasts, at the port that is given (0: any free one).

    Raises `SettingsError` if it cannot be opened.
    """
    try:
        listener = await anyio.create_tcp_listener(local_host=address, local_port=port)
    except OSError as error:
        reason = "it is in use" if error.errno == errno.EADDRINUSE else error.strerror or str(error)
        raise SettingsError(f"cannot open VAGUS_HEALTH_PORT={port} on {address}: {reason}") from error
    clients = anyio.Semaphore(CLIENTS)

    async def serve(stream: SocketStream) -> None:
        async with stream:
            try:
                clients.acquire_nowait()
            except anyio.WouldBlock:
                return
            try:
                with anyio.move_on_after(REQUEST_S):
                    await _converse(stream, health)
            except (anyio.BrokenResourceError, anyio.ClosedResourceError) as error:
                _log.debug("a client has gone: %s", error)
            finally:
                clients.release()

    async def accept() -> None:
        while True:
            try:
                await listener.serve(serve)
            except* OSError as group:  # such as for want of file descriptors: it may pass
                _log.warning("cannot answer at the health port: %s", first(group))
                await anyio.sleep(RETRY_S)

    async with listener, beside(accept):
        yield listener.extra(SocketAttribute.local_port)  # noqa: S610 -- no query of Django's


async def _converse(stream: SocketStream, health: Health) -> None:
    status, body = _answer(await _request(stream), health)
    await stream.send(_HEAD % (status, status.phrase.encode(), len(body)) + body)


async def _request(stream: SocketStream) -> bytes:
    """A request up to the end of its headers, or as much of it as there is room for."""
    said = b""
    while _END not in said and len(said) < REQUEST_BYTES:
        try:
            said += await stream.receive(REQUEST_BYTES)
        except anyio.EndOfStream:
            break
    return said


def _answer(said: bytes, health: Health) -> tuple[HTTPStatus, bytes]:
    head, end, _ = said.partition(_END)
    words = head.split(b"\r\n", 1)[0].split(b" ")
    if not end:
        long = len(said) >= REQUEST_BYTES
        return _error(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE if long else HTTPStatus.BAD_REQUEST)
    if len(words) != 3 or not words[2].startswith(b"HTTP/1."):
        return _error(HTTPStatus.BAD_REQUEST)
    if words[0] != b"GET":
        return _error(HTTPStatus.METHOD_NOT_ALLOWED)
    state = health.state()
    match words[1].split(b"?", 1)[0]:
        case b"/healthz":
            status = HTTPStatus.OK
        case b"/readyz":
            status = HTTPStatus.OK if state.status is Phase.READY else HTTPStatus.SERVICE_UNAVAILABLE
        case _:
            return _error(HTTPStatus.NOT_FOUND)
    return status, msgspec.json.encode(state)


def _error(status: HTTPStatus) -> tuple[HTTPStatus, bytes]:
    return status, msgspec.json.encode({"error": status.phrase})


def _no() -> bool:
    return False
