# pyright: reportPrivateUsage=false
"""nats-py's client with a synchronous way in and out.

As it comes, every message it delivers passes a queue and a task of its subscription, and every message it
sends a queue and a task that flushes: a third of the time of a store, and more of a queue hop. Here a message
goes from the parser straight to its handler, and from the sender straight to the socket; connecting,
authentication, reconnecting and parsing stay nats-py's. No other module touches its internals; hence the
narrow version pin of the packaging.
"""

import asyncio
import math
import random
from collections.abc import Callable, Mapping
from contextlib import suppress
from types import MappingProxyType
from typing import Final

import msgspec
import nats.errors
from nats.aio.client import Client, Server, Srv

from vagus.contract import limits
from vagus.contract.errors import Malformed, Refused, Unavailable

RECONNECT_FIRST_S: Final = 0.25
RECONNECT_MOST_S: Final = 2.0
FLUSH_TIMEOUT_S: Final = 5
DRAIN_TIMEOUT_S: Final = 1
ENVELOPE_BYTES: Final = 4 * limits.KIB
"""What headers take at most, as a guess: below the server's limit by this much nothing is counted."""

NO_HEADERS: Final[Mapping[str, str]] = MappingProxyType({})


class Message(msgspec.Struct, frozen=True):
    """What arrived."""

    subject: str
    data: bytes
    headers: Mapping[str, str] = NO_HEADERS
    reply: str = ""

    @property
    def status(self) -> int:
        """The server's status line, such as 404; 0: an ordinary message."""
        return int(self.headers.get("Status", 0))

    @property
    def description(self) -> str:
        """The text of the status line."""
        return self.headers.get("Description", "")


Handler = Callable[[Message], None]
"""Takes one message; must not block."""


class Wire(Client):
    """One connection. A handler that raises is a bug: `on_bug` is told, and the message is skipped."""

    def __init__(self, on_bug: Callable[[Exception], None]) -> None:
        super().__init__()
        self._on_bug = on_bug
        self._handlers: dict[int, Handler] = {}
        self._held_back: list[bytes] = []
        self._idle: list[bytes] = []
        """What nobody waits for."""
        self._idle_timer: asyncio.Handle | None = None
        self._idle_until = math.inf
        self._corked = False
        self._mute = False

    async def listen(self, subject: str, handler: Handler) -> int:
        """Call `handler` for every message on `subject`, in order; returns the number to `forget` it by.

        While connected, it returns when the server knows of it; else it holds from the next reconnect on.

        Raises:
            Unavailable: The connection is closed, or the server did not answer.
        """
        _check_subject(subject)
        number: int = self._sid + 1  # what subscribe() takes: nothing may arrive before its handler is known
        self._handlers[number] = handler
        try:
            await self.subscribe(subject)
            if self.is_connected:
                await self.flush(FLUSH_TIMEOUT_S)
                self._mute = False
        except (nats.errors.Error, OSError) as error:
            self._handlers.pop(number, None)
            raise Unavailable(f"cannot subscribe to {subject}: {error or type(error).__name__}") from error
        return number

    async def forget(self, number: int, *, drain: bool = False) -> None:
        """End a subscription, with `drain` after what the server has sent for it. Idempotent."""
        if not drain:
            self._handlers.pop(number, None)
        subscription = self._subs.get(number)
        try:
            if subscription is not None and not self.is_closed:
                await subscription.unsubscribe()
                if drain and self.is_connected and not self._mute:
                    await self.flush(DRAIN_TIMEOUT_S)
        except nats.errors.FlushTimeoutError:
            self._mute = True  # many drains of a frozen server wait for it once, not each
        except (nats.errors.Error, OSError):
            return  # the connection went away, and the subscription with it
        finally:
            self._handlers.pop(number, None)

    def send(
        self,
        subject: str,
        data: bytes,
        headers: Mapping[str, str] | None,
        reply: str,
        *,
        within_s: float = 0.0,
    ) -> None:
        """Hand a message to the socket. The first of a loop iteration goes at once, the others together.

        One that nobody waits for may go `within_s` instead, along with the next that goes at once: each write
        wakes the server, which is then in our way on a busy machine.

        Raises:
            Refused: It is over the server's size limit, at which the server would end the connection.
            Malformed: The subject or a header would break the protocol.
        """
        _check_subject(subject)
        if reply:
            _check_subject(reply)
        head = _encode(headers) if headers else b""
        if head:
            command = b"HPUB %b %b %d %d\r\n%b%b\r\n" % (
                subject.encode(),
                reply.encode(),
                len(head),
                len(head) + len(data),
                head,
                data,
            )
        else:
            command = b"PUB %b %b %d\r\n%b\r\n" % (subject.encode(), reply.encode(), len(data), data)
        if len(command) > self._max_payload - ENVELOPE_BYTES:
            self._check_size(subject, len(head) + len(data))
        loop = asyncio.get_running_loop()
        if within_s:
            self._idle.append(command)
            due = loop.time() + within_s
            if due < self._idle_until:
                self._stop_idling()
                self._idle_until = due
                self._idle_timer = loop.call_at(due, self._flush_idle)
            return
        if self._corked:
            self._held_back.append(command)
            return
        if self._idle:
            command = b"".join([command, *self._idle])
            self._idle.clear()
            self._stop_idling()
        self._write(command)
        self._corked = True
        loop.call_soon(self._uncork)

    async def end(self) -> None:
        """Close the connection; what was sent is still written. May take as long as the socket does."""
        self._uncork()
        self._flush_idle()
        with suppress(OSError, RuntimeError):  # the socket is gone, and what was to be written with it
            await self.close()
        self._hang_up()

    @property
    def backlog(self) -> int:
        """Bytes that were sent, and that the system has not taken yet."""
        writer: asyncio.StreamWriter | None = getattr(self._transport, "_io_writer", None)
        held = sum(map(len, self._held_back))
        return held if writer is None else held + writer.transport.get_write_buffer_size()

    async def drained(self) -> None:
        """Wait while the socket's buffer is full."""
        if self._transport is not None:
            try:
                await self._transport.drain()  # type: ignore[no-untyped-call]
            except OSError:
                return  # the reader sees the end as well, and reconnects

    def _flush_idle(self) -> None:
        self._stop_idling()
        if self._idle:
            together = b"".join(self._idle)
            self._idle.clear()
            self._write(together)

    def _stop_idling(self) -> None:
        self._idle_until = math.inf
        if self._idle_timer is not None:
            self._idle_timer.cancel()
            self._idle_timer = None

    def _uncork(self) -> None:
        self._corked = False
        if self._held_back:
            together = b"".join(self._held_back)
            self._held_back.clear()
            self._write(together)

    def _write(self, commands: bytes) -> None:
        if self._transport is None or not self.is_connected:
            return  # lost, as what is in a socket's buffer then
        with suppress(RuntimeError):  # of uvloop: it has closed the socket, and nats-py is about to be told
            self._transport.write(commands)

    def _check_size(self, subject: str, size: int) -> None:
        if size > self._max_payload:
            raise Refused(f"a message of {size} bytes to {subject} is over the limit of {self._max_payload}")

    async def _connect_to_server(self, s: Srv) -> None:
        self._hang_up()  # else the socket of an attempt that failed stays open until garbage is looked for
        await super()._connect_to_server(s)

    def _hang_up(self) -> None:
        if self._transport is not None:
            self._transport.close()  # type: ignore[no-untyped-call]

    async def _process_pong(self) -> None:
        if (
            self._pongs and self._pongs[0].done()
        ):  # who waited has given up: nats-py would stop reading at that
            self._pongs[0] = asyncio.get_running_loop().create_future()
        await super()._process_pong()

    async def _process_msg(
        self, sid: int, subject: bytes, reply: bytes, data: bytes, headers: bytes | None
    ) -> None:
        handler = self._handlers.get(sid)
        if handler is None:
            return
        fields = _decode(headers) if headers else NO_HEADERS
        try:
            handler(Message(_text(subject), data, fields, _text(reply)))
        except Exception as error:  # else nats-py would stop reading, and say nothing
            self._on_bug(error)


def _check_subject(subject: str) -> None:
    """Refuse white space: with a subject from outside (a client's reply inbox) it would inject commands."""
    if not subject or " " in subject or not subject.isprintable():
        raise Malformed(f"not a subject: {subject[:80]!r}")


def _text(subject: bytes) -> str:
    """As text, whatever its bytes: the server lets clients choose any, and no choice may end who hears it."""
    return subject.decode("utf-8", "replace")


def _encode(headers: Mapping[str, str]) -> bytes:
    lines = "".join([f"{name}: {value}\r\n" for name, value in headers.items()])
    if lines.count("\n") != len(headers) or lines.count("\r") != len(headers):
        raise Malformed(f"a line break in the headers {sorted(headers)}")
    return f"NATS/1.0\r\n{lines}\r\n".encode()


def _decode(block: bytes) -> Mapping[str, str]:
    """Headers, and `Status` and `Description` of a status line; of a name that is repeated the last.

    nats-py looks at every character of every name: that took most of the time of reading a log.
    """
    start, *lines = block.decode("utf-8", "replace").split("\r\n")
    fields: dict[str, str] = {}
    status, _, description = start.removeprefix("NATS/1.0").strip().partition(" ")
    if status.isdigit():
        fields["Status"] = status
        fields["Description"] = description
    for line in lines:
        name, colon, value = line.partition(":")
        if colon:
            fields[name.strip()] = value.strip()
    return fields


def backoff(servers: list[Server], _info: dict[str, object]) -> tuple[Server | None, float]:
    """The server to try next and how long to wait first: 0.25 s doubling to 2 s, jittered."""
    server = min(servers, key=lambda candidate: candidate.reconnects)
    most = min(RECONNECT_MOST_S, RECONNECT_FIRST_S * 2 ** min(server.reconnects, 8))
    return server, most * random.uniform(0.5, 1)  # noqa: S311 -- spreads load, keeps no secret
