"""Reads a stream in order: a consumer that is pulled, so that nothing comes that was not asked for.

It acknowledges nothing and is made anew where it stood when a message is missing, or the consumer, the server
or the connection is lost.
"""

import asyncio
import logging
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import aclosing, asynccontextmanager
from typing import Final

import anyio
import msgspec

from vagus.contract.errors import OutcomeUnknown, Unavailable
from vagus.runtime.bus import CLOSE_TIMEOUT_S, ApiError, Bus, Message
from vagus.runtime.origin import Origin

log = logging.getLogger("vagus.subscription")

BATCH: Final = 256
"""Messages that are asked for and not yet here."""
EXPIRES_S: Final = 30.0
HEARTBEAT_S: Final = 2.0
SILENCE_S: Final = 2.5 * HEARTBEAT_S
"""A consumer that says nothing for this long, not even a heartbeat, is lost."""
GONE_S: Final = 60.0
"""The server removes a consumer of which nobody has asked for this long."""
RETRY_FIRST_S: Final = 0.1
RETRY_MOST_S: Final = 2.0
_NO_STREAM: Final = 10059


class _Created(msgspec.Struct):
    class Delivered(msgspec.Struct):
        stream_seq: int

    delivered: Delivered
    num_pending: int = 0


class _Extent(msgspec.Struct):
    class State(msgspec.Struct):
        first_seq: int
        last_seq: int

    state: State


class Shorter(Exception):
    """The stream ends before the place from which it is read: it has lost its end, or was made anew."""

    def __init__(self, last: int) -> None:
        super().__init__(last)
        self.last = last


class Place(msgspec.Struct, frozen=True):
    """Where a consumer begins."""

    after: int
    """The stream sequence before its first message."""
    waiting: int
    """Messages that are there for it."""


async def place(
    bus: Bus, stream: str, filters: Sequence[str], policy: str = "by_start_sequence", **options: object
) -> Place:
    """Where a consumer with a deliver policy of the server would begin.

    Raises:
        Unavailable: The server does not answer, or has no such stream.
    """
    name = bus.new_inbox().rpartition(".")[2]
    try:
        created = await _create(bus, stream, name, filters, {"deliver_policy": policy, **options})
    except (ApiError, OutcomeUnknown) as error:
        raise Unavailable(_told(stream, error)) from error
    _remove(bus, stream, name)
    return Place(created.delivered.stream_seq, created.num_pending)


async def read(
    bus: Bus, stream: str, filters: Sequence[str], after: int
) -> AsyncGenerator[tuple[Message, Origin], None]:
    """The messages on the subjects `filters` after the sequence `after`: those stored, then live, for ever.

    Without gap or duplicate, across reconnects; what the stream has dropped is passed over. Raises `Shorter`.
    """
    pause_s, trouble = RETRY_FIRST_S, ""
    while True:
        try:
            await _check(bus, stream, after)
            async with _pulled(bus, stream, filters, after) as (inbox, name):
                pause_s, trouble = RETRY_FIRST_S, ""
                async with aclosing(_received(bus, stream, name, inbox)) as received:
                    async for message, origin in received:
                        after = origin.stream_sequence
                        yield message, origin
        except (ApiError, OutcomeUnknown, Unavailable) as error:
            if bus.connected and (told := _told(stream, error)) != trouble:
                trouble = told
                log.warning("%s; trying on", told)
        await anyio.sleep(pause_s)
        pause_s = min(2 * pause_s, RETRY_MOST_S)


async def _check(bus: Bus, stream: str, after: int) -> None:
    """Whether all that is to be read is there."""
    there = msgspec.convert(await bus.api(f"STREAM.INFO.{stream}"), _Extent).state
    if there.last_seq < after:
        raise Shorter(there.last_seq)
    if there.first_seq > after + 1:
        log.warning("%s has dropped events up to %d; read was up to %d", stream, there.first_seq - 1, after)


class _Inbox:
    """What one consumer delivers. It is bounded by what was asked for: a message more is never sent."""

    def __init__(self, address: str) -> None:
        self.address = address
        self._waiting: deque[Message] = deque()
        self._arrived = asyncio.Event()

    def put(self, message: Message) -> None:
        """One more message."""
        self._waiting.append(message)
        self._arrived.set()

    async def next(self) -> Message | None:
        """The next message; None when not even a heartbeat comes."""
        if not self._waiting:
            self._arrived.clear()
            with anyio.move_on_after(SILENCE_S):
                await self._arrived.wait()
        return self._waiting.popleft() if self._waiting else None


@asynccontextmanager
async def _pulled(
    bus: Bus, stream: str, filters: Sequence[str], after: int
) -> AsyncIterator[tuple[_Inbox, str]]:
    """A new consumer, and what it delivers."""
    inbox = _Inbox(bus.new_inbox())
    name = inbox.address.rpartition(".")[2]
    subscription = await bus.subscribe_callback(inbox.address, inbox.put)
    # Our own message to the inbox, once the connection is back, ends this consumer.
    forget_hook = bus.on_reconnect(lambda: bus.send(inbox.address))
    try:
        await _create(
            bus, stream, name, filters, {"deliver_policy": "by_start_sequence", "opt_start_seq": after + 1}
        )
        yield inbox, name
    finally:
        forget_hook()
        _remove(bus, stream, name)
        with anyio.move_on_after(CLOSE_TIMEOUT_S, shield=True):
            await subscription.unsubscribe()


async def _received(
    bus: Bus, stream: str, name: str, inbox: _Inbox
) -> AsyncGenerator[tuple[Message, Origin], None]:
    """The deliveries of one consumer, until one of them or the consumer itself is lost."""
    asked, count = 0, 0
    while True:
        if asked <= BATCH // 2:
            _ask(bus, stream, name, inbox.address, BATCH - asked)
            asked = BATCH
        message = await inbox.next()
        if message is None:
            return
        origin = Origin.of(message.reply)
        if origin is not None:
            if origin.consumer_sequence != count + 1:
                return
            count += 1
            asked -= 1
            yield message, origin
        elif message.status == 100:
            if int(message.headers.get("Nats-Last-Consumer", 0)) > count:
                return
        elif message.status == 408 and "Nats-Pending-Messages" in message.headers:
            asked -= int(message.headers["Nats-Pending-Messages"])
        else:
            return  # the consumer is gone, or we have told ourselves to begin anew


def _ask(bus: Bus, stream: str, name: str, address: str, count: int) -> None:
    wanted = {"batch": count, "expires": _ns(EXPIRES_S), "idle_heartbeat": _ns(HEARTBEAT_S)}
    bus.send(f"$JS.API.CONSUMER.MSG.NEXT.{stream}.{name}", msgspec.json.encode(wanted), reply=address)


async def _create(
    bus: Bus, stream: str, name: str, filters: Sequence[str], options: dict[str, object]
) -> _Created:
    one = len(filters) == 1
    config: dict[str, object] = {
        "name": name,
        "ack_policy": "none",
        "inactive_threshold": _ns(GONE_S),
        "mem_storage": True,
        "num_replicas": 1,
        **({"filter_subject": filters[0]} if one else {"filter_subjects": list(filters)}),
        **options,
    }
    # One filter stands in the subject as well, where permissions can see it.
    target = f"{stream}.{name}.{filters[0]}" if one else f"{stream}.{name}"
    answer = await bus.api(
        f"CONSUMER.CREATE.{target}", {"stream_name": stream, "config": config, "action": "create"}
    )
    return msgspec.convert(answer, _Created)


def _remove(bus: Bus, stream: str, name: str) -> None:
    """Have the server forget a consumer; should that be lost, it does so by itself."""
    bus.send(f"$JS.API.CONSUMER.DELETE.{stream}.{name}")


def _told(stream: str, error: Exception) -> str:
    if isinstance(error, ApiError) and error.err_code == _NO_STREAM:
        return f"there is no stream {stream}: a relay makes and fills it; is one running?"
    return f"cannot read {stream}: {error}"


def _ns(seconds: float) -> int:
    return round(seconds * 1e9)
