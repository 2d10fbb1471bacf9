"""The one connection of a process to NATS.

nats-py's types and exceptions end here and in `wire`. Replies to requests come through one wildcard
subscription, so that a request costs neither a subscription nor a task, and one timer ends all that are late.
"""

import asyncio
import itertools
import logging
from collections import deque
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from functools import partial
from typing import Final

import anyio
import msgspec
import nats.errors

from vagus.contract import limits
from vagus.contract.errors import OutcomeUnknown, Unavailable
from vagus.runtime.access import ANYBODY, options
from vagus.runtime.answers import ApiError, Stored, read_ack, read_answer
from vagus.runtime.settings import Access
from vagus.runtime.waiting import Call, Feed
from vagus.runtime.wire import RECONNECT_FIRST_S, Handler, Message, Wire, backoff

__all__ = ["ApiError", "Bus", "Message", "Stored", "Subscription", "connect"]

log = logging.getLogger("vagus.bus")

CONNECT_TIMEOUT_S: Final = 10.0
CLOSE_TIMEOUT_S: Final = 2.0
PING_S: Final = 4
"""A connection that answers no ping for three of these is taken for dead, before clients lose patience."""
BACKLOG_BYTES: Final = 64 * limits.KIB
"""Sent and not taken by the system yet; from here on a publisher waits."""
FEED_MESSAGES: Final = 4096
"""Unread messages of one subscriber."""
FORBIDDEN_KEPT: Final = 64
LATE_CHECK_S: Final = 0.05
"""How often requests are looked through for those whose time is up."""

Hook = Callable[[], None]


class Subscription:
    """Interest in a subject, across reconnects; ends with `unsubscribe` or `drain`."""

    def __init__(self, wire: Wire, number: int) -> None:
        self._wire = wire
        self._number = number

    async def unsubscribe(self) -> None:
        """End it; nothing is delivered afterwards. Idempotent."""
        await self._wire.forget(self._number)

    async def drain(self) -> None:
        """End it; what the server has sent already is still delivered before this returns. Idempotent."""
        await self._wire.forget(self._number, drain=True)


class Bus:
    """The connection. Made by `connect`; to be used from any task of its event loop."""

    def __init__(self, wire: Wire, inbox_prefix: str) -> None:
        self._wire = wire
        self._calls: dict[str, Call] = {}
        self._tokens = itertools.count(1)
        self._late_check: asyncio.TimerHandle | None = None
        self._on_reconnect: list[Hook] = []
        self._on_disconnect: list[Hook] = []
        self._replies = wire.new_inbox() + "."
        self._subscribed = False
        self._forbidden: deque[str] = deque(maxlen=FORBIDDEN_KEPT)
        self.inbox_prefix = inbox_prefix
        self.dropped = 0
        """Messages that were published while there was no connection."""

    # State ------------------------------------------------------------------------------------------------

    @property
    def connected(self) -> bool:
        """Whether there is a connection at this moment, with all subscriptions standing."""
        # nats-py says connected a moment before it has subscribed again: a request then would lose its reply
        return self._subscribed and self._wire.is_connected

    @property
    def max_payload(self) -> int:
        """The longest message in bytes, headers included, that the server takes."""
        return self._wire.max_payload

    @property
    def server_version(self) -> str:
        """Of the server that we are connected to, such as `2.15.1`."""
        version = self._wire.connected_server_version
        return f"{version.major}.{version.minor}.{version.patch}"

    def forbids(self, beginning: str) -> bool:
        """Whether the server has refused us a subject that begins so, since we connected."""
        return any(subject.startswith(beginning.lower()) for subject in self._forbidden)

    def new_inbox(self) -> str:
        """A subject of our own that nobody else uses."""
        return self._wire.new_inbox()

    def on_reconnect(self, hook: Hook) -> Hook:
        """Call `hook` after every reconnect, when subscriptions stand again; returns what ends that.

        It must not block.
        """
        self._on_reconnect.append(hook)
        return partial(_remove, self._on_reconnect, hook)

    def on_disconnect(self, hook: Hook) -> Hook:
        """Call `hook` whenever the connection is lost; returns what ends that. It must not block."""
        self._on_disconnect.append(hook)
        return partial(_remove, self._on_disconnect, hook)

    # Sending ----------------------------------------------------------------------------------------------

    def send(
        self,
        subject: str,
        data: bytes = b"",
        *,
        headers: Mapping[str, str] | None = None,
        reply: str = "",
        within_s: float = 0.0,
    ) -> None:
        """Send at most once, without waiting; for acks and the like, whose number is bounded elsewhere.

        What may go `within_s` costs no write of its own when another goes before. Without a connection the
        message is dropped and counted, never buffered.

        Raises:
            Refused: It is over the server's size limit.
            Malformed: The subject or a header has white space that would break the protocol.
        """
        if self.connected:
            self._wire.send(subject, data, headers, reply, within_s=within_s)
        else:
            self.dropped += 1

    async def publish(
        self, subject: str, data: bytes = b"", *, headers: Mapping[str, str] | None = None, reply: str = ""
    ) -> None:
        """Send at most once, waiting (in bounds) while the socket is full. Otherwise as `send`."""
        self.send(subject, data, headers=headers, reply=reply)
        if self._wire.backlog > BACKLOG_BYTES:
            with anyio.move_on_after(limits.REQUEST_TIMEOUT_S):
                await self._wire.drained()

    async def store(
        self,
        subject: str,
        data: bytes,
        *,
        msg_id: str | None = None,
        headers: Mapping[str, str] | None = None,
        expected_last_sequence: int | None = None,
        timeout_s: float = limits.REQUEST_TIMEOUT_S,
    ) -> Stored:
        """Store one message in the stream of `subject`; returns when the server has acknowledged it.

        Within the duplicate window a `msg_id` is stored once. `expected_last_sequence` makes it a
        compare-and-set on the whole stream.

        Raises:
            Conflict: The stream's last sequence is another.
            Unavailable: It was not stored: no connection, no such stream, or storage is down.
            Busy: It was not stored: the stream is full.
            OutcomeUnknown: The acknowledgement did not come in time, or the connection broke meanwhile.
            Refused: It is too large, or the server refuses it for another reason (`ApiError`).
        """
        sent = dict(headers) if headers else {}
        if msg_id is not None:
            sent["Nats-Msg-Id"] = msg_id
        if expected_last_sequence is not None:
            sent["Nats-Expected-Last-Sequence"] = str(expected_last_sequence)
        answer = await self.request(subject, data, timeout_s=timeout_s, headers=sent)
        return read_ack(subject, answer.data)

    async def request(
        self, subject: str, data: bytes = b"", *, timeout_s: float, headers: Mapping[str, str] | None = None
    ) -> Message:
        """Send a request and wait for its one reply.

        Raises:
            Unavailable: Nobody listens, or there is no connection; nothing happened.
            OutcomeUnknown: No reply in time, or the connection broke meanwhile.
            Refused: The request is over the server's size limit.
        """
        return (await self._exchange(subject, data, headers, timeout_s, None))[0]

    async def collect(
        self,
        subject: str,
        data: bytes = b"",
        *,
        last: Callable[[Message], bool],
        timeout_s: float,
        headers: Mapping[str, str] | None = None,
    ) -> list[Message]:
        """Send a request that has many replies; returns them all, up to the one for which `last` holds.

        Raises as `request`; `timeout_s` bounds the whole.
        """
        return await self._exchange(subject, data, headers, timeout_s, last)

    async def api(
        self,
        verb: str,
        body: Mapping[str, object] | None = None,
        *,
        timeout_s: float = limits.REQUEST_TIMEOUT_S,
    ) -> dict[str, object]:
        """One request to the JetStream API, such as `STREAM.INFO.NAME`; returns its answer.

        Raises:
            ApiError: The server refused it, for instance with code 404.
            Conflict, Busy: As with `store`.
            Unavailable: No connection, or JetStream is not there or not ready.
            OutcomeUnknown: No answer in time.
        """
        data = b"" if body is None else msgspec.json.encode(body)
        answer = await self.request(f"$JS.API.{verb}", data, timeout_s=timeout_s)
        return read_answer(answer.data)

    # Receiving --------------------------------------------------------------------------------------------

    @asynccontextmanager
    async def subscribe(
        self, subject: str, *, limit: int = FEED_MESSAGES
    ) -> AsyncIterator[AsyncIterator[Message]]:
        """Read what is published on `subject`, from now on, also across reconnects.

        At most `limit` messages wait; when the reader is too slow for that, what does not fit is lost, and
        it is told so by `Unavailable` after it has read what did.
        """
        feed = Feed(subject, limit)
        subscription = await self.subscribe_callback(subject, feed.put)
        try:
            yield feed
        finally:
            with anyio.move_on_after(CLOSE_TIMEOUT_S, shield=True):
                await subscription.unsubscribe()

    async def subscribe_callback(self, subject: str, handler: Handler) -> Subscription:
        """Call `handler` with every message on `subject`, in order, also across reconnects.

        It must not block; when it raises, that is a bug and ends the connection's block with that error.
        When this returns, the server knows of the subscription (or will, once connected again).
        """
        return Subscription(self._wire, await self._wire.listen(subject, handler))

    # Inside -----------------------------------------------------------------------------------------------

    async def _exchange(
        self,
        subject: str,
        data: bytes,
        headers: Mapping[str, str] | None,
        timeout_s: float,
        last: Callable[[Message], bool] | None,
    ) -> list[Message]:
        if not self.connected:
            raise Unavailable(f"no connection to NATS: {subject} was not sent")
        loop = asyncio.get_running_loop()
        call = Call(loop.create_future(), loop.time() + timeout_s, last)
        token = str(next(self._tokens))
        self._calls[token] = call
        if self._late_check is None:
            self._late_check = loop.call_later(LATE_CHECK_S, self._end_late_calls)
        try:
            self._wire.send(subject, data, headers, self._replies + token)
            error = await call.done
        finally:
            del self._calls[token]
        if error is not None:
            raise type(error)(f"{subject}: {error}")
        if call.replies[-1].status == 503 and not call.replies[-1].data:
            raise Unavailable(f"nobody answers on {subject}")
        return call.replies

    def _replied(self, message: Message) -> None:
        call = self._calls.get(message.subject[len(self._replies) :])
        if call is not None:
            call.take(message)

    def _end_late_calls(self) -> None:
        loop = asyncio.get_running_loop()
        now = loop.time()
        for call in self._calls.values():
            if call.deadline <= now:
                call.end(OutcomeUnknown("no reply in time"))
        self._late_check = loop.call_later(LATE_CHECK_S, self._end_late_calls) if self._calls else None

    async def _start(self) -> None:
        await self.subscribe_callback(self._replies + "*", self._replied)
        self._subscribed = True

    def _refused(self, error: str) -> None:
        # such as: nats: permissions violation for publish to "vagus.x.y", in small letters throughout
        self._forbidden.append(error.partition('"')[2].partition('"')[0])

    def _disconnected(self) -> None:
        self._subscribed = False
        self._forbidden.clear()
        for call in self._calls.values():
            call.end(OutcomeUnknown("the connection to NATS was lost before the reply came"))
        for hook in tuple(self._on_disconnect):
            hook()

    def _reconnected(self) -> None:
        self._subscribed = True
        for hook in tuple(self._on_reconnect):
            hook()


def _remove(hooks: list[Hook], hook: Hook) -> None:
    if hook in hooks:
        hooks.remove(hook)


@asynccontextmanager
async def connect(
    url: str,
    *,
    name: str,
    access: Access = ANYBODY,
    timeout_s: float = CONNECT_TIMEOUT_S,
) -> AsyncIterator[Bus]:
    """Connect to `url` (several servers: comma-separated) and stay connected until the block ends.

    After the first success the connection is restored for ever. Should the server end it for good (such as
    after its credentials were revoked), the block is cancelled and `Unavailable` raised.

    Args:
        url: Where, such as `nats://127.0.0.1:4222`.
        name: What the server's operator sees.
        access: Who we are and whom we trust; the prefix of the subjects on which replies come.
        timeout_s: For the first connection.

    Raises:
        SettingsError: A file that `access` names cannot be used.
        Unavailable: No server there within `timeout_s`.
    """
    proof = options(access)
    life = _Life()
    wire = Wire(life.bug)
    try:
        with anyio.fail_after(timeout_s):
            await wire.connect(
                url.split(","),
                name=name,
                error_cb=life.error,
                disconnected_cb=life.disconnected,
                reconnected_cb=life.reconnected,
                closed_cb=life.closed,
                connect_timeout=2,
                reconnect_time_wait=RECONNECT_FIRST_S,  # type: ignore[arg-type]  # seconds, used as float
                reconnect_to_server_handler=backoff,
                max_reconnect_attempts=-1,
                ping_interval=PING_S,
                skip_subject_validation=True,
                **proof,
            )
            life.bus = bus = Bus(wire, access.inbox_prefix)
            await bus._start()
    except (TimeoutError, OSError, nats.errors.Error, Unavailable) as error:
        await life.end(wire)
        reason = life.last_error or str(error) or "no answer"
        raise Unavailable(
            f"no NATS server at {url}: start one with `vagus up`, or name another with --server ({reason})"
        ) from error
    try:
        with life.body:
            yield bus
    finally:
        await life.end(wire)
    if life.bugs:
        raise life.bugs[0]
    if life.body.cancelled_caught:
        raise Unavailable(f"the NATS server ended the connection for good: {life.last_error}")


class _Life:
    """What nats-py calls back, from the first attempt to the end."""

    def __init__(self) -> None:
        self.body = anyio.CancelScope()
        self.bus: Bus | None = None
        self.bugs: list[Exception] = []
        self.last_error = ""
        self._ending = False

    def bug(self, error: Exception) -> None:
        log.error("a message handler failed", exc_info=error)
        self.bugs.append(error)
        self.body.cancel()

    async def error(self, error: Exception) -> None:
        self.last_error = str(error) or type(error).__name__
        forbidden = "permissions violation" in self.last_error
        log.log(logging.WARNING if forbidden else logging.DEBUG, "NATS: %s", self.last_error)
        if forbidden and self.bus is not None:
            self.bus._refused(self.last_error)

    async def disconnected(self) -> None:
        if not self._ending:
            log.warning("lost the connection to NATS (%s); trying again", self.last_error or "closed")
        if self.bus is not None:
            self.bus._disconnected()

    async def reconnected(self) -> None:
        log.warning("connected to NATS again")
        if self.bus is not None:
            self.bus._reconnected()

    async def closed(self) -> None:
        if not self._ending:
            self.body.cancel()

    async def end(self, wire: Wire) -> None:
        """Close, in bounded time even when cancelled: nats-py's close waits for the socket."""
        self._ending = True
        with anyio.move_on_after(CLOSE_TIMEOUT_S, shield=True):
            await wire.end()
