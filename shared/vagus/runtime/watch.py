"""Watching a key-value bucket: a consumer tells what is there, then what changes; a lost one is made anew."""

from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing, asynccontextmanager
from typing import Final, TypeAlias

import anyio
import msgspec

from vagus.contract.errors import OutcomeUnknown, Unavailable
from vagus.runtime.bus import ApiError, Bus, Message
from vagus.runtime.origin import Origin

HEARTBEAT_S: Final = 2.0
"""How often the server says that an idle watch stands; after two and a half it is taken for lost."""
RETRY_FIRST_S: Final = 0.1
RETRY_MOST_S: Final = 2.0
OPERATION: Final = "KV-Operation"
"""The header of a message that removes its key."""


class Entry(msgspec.Struct, frozen=True):
    """A key and its value."""

    key: str
    value: bytes
    revision: int


class Deleted(msgspec.Struct, frozen=True):
    """A key that was removed."""

    key: str
    revision: int


class CaughtUp(msgspec.Struct, frozen=True):
    """All that was there when the watch began has been told; what follows is new."""


Change: TypeAlias = Entry | Deleted | CaughtUp


class _Created(msgspec.Struct):
    num_pending: int = 0


async def watch(bus: Bus, stream: str, prefix: str, subject: str) -> AsyncGenerator[Change, None]:
    """The changes of the keys under `subject`; a key is what follows `prefix`. See `Bucket.watch`."""
    seen, caught_up, pause_s = 0, False, 0.0
    while True:
        try:
            async with _delivered(bus, stream, subject, seen) as (messages, waiting):
                pause_s = RETRY_FIRST_S
                if not waiting and not caught_up:
                    caught_up = True
                    yield CaughtUp()
                async with aclosing(_received(bus, messages)) as received:
                    async for message, origin in received:
                        if origin is not None:
                            seen = origin.stream_sequence
                            yield change(
                                prefix, message.subject, OPERATION in message.headers, message.data, seen
                            )
                        if (origin is None or not origin.pending) and not caught_up:
                            caught_up = True
                            yield CaughtUp()
        except (OutcomeUnknown, Unavailable):
            if pause_s == 0.0:
                raise
        await anyio.sleep(pause_s)
        pause_s = min(2 * pause_s, RETRY_MOST_S)


def change(prefix: str, subject: str, gone: bool, value: bytes, revision: int) -> Entry | Deleted:
    """What a message of the bucket's stream means."""
    key = subject.removeprefix(prefix)
    return Deleted(key, revision) if gone else Entry(key, value, revision)


@asynccontextmanager
async def _delivered(
    bus: Bus, stream: str, subject: str, after: int
) -> AsyncIterator[tuple[AsyncIterator[Message], int]]:
    """What a new consumer delivers, and how many messages wait for it already."""
    inbox = bus.new_inbox()
    async with bus.subscribe(inbox) as messages:
        waiting = await _create_consumer(bus, stream, subject, inbox, after)
        # Our own message to the inbox, once the connection is back, is no delivery and so ends this consumer.
        forget_hook = bus.on_reconnect(lambda: bus.send(inbox))
        try:
            yield messages, waiting
        finally:
            forget_hook()


async def _create_consumer(bus: Bus, stream: str, subject: str, inbox: str, after: int) -> int:
    """Have messages delivered to `inbox` as long as somebody listens; returns how many wait."""
    name = inbox.rpartition(".")[2]
    config: dict[str, object] = {
        "name": name,
        "deliver_subject": inbox,
        "filter_subject": subject,
        "ack_policy": "none",
        "max_deliver": 1,
        "flow_control": True,
        "idle_heartbeat": round(HEARTBEAT_S * 1e9),
        "inactive_threshold": round(HEARTBEAT_S * 1e9),
        "mem_storage": True,
        "num_replicas": 1,
    }
    if after:
        config |= {"deliver_policy": "by_start_sequence", "opt_start_seq": after + 1}
    else:
        config["deliver_policy"] = "last_per_subject"
    try:
        created = await bus.api(
            f"CONSUMER.CREATE.{stream}.{name}.{subject}",
            {"stream_name": stream, "config": config, "action": "create"},
        )
    except ApiError as error:
        raise Unavailable(f"cannot watch {stream}: {error.message}") from error
    return msgspec.convert(created, _Created).num_pending


async def _received(
    bus: Bus, messages: AsyncIterator[Message]
) -> AsyncGenerator[tuple[Message, Origin | None], None]:
    """The deliveries of one consumer, until one of them or the consumer itself is lost.

    Without an origin: all that waits was delivered. It may be less than was announced, since keys expire.
    """
    count = 0
    while (message := await _next(messages)) is not None:
        if message.status:
            waits_on = message.reply or message.headers.get("Nats-Consumer-Stalled")
            if waits_on:  # flow control: answered when the reader has come to it
                bus.send(waits_on)
            if int(message.headers.get("Nats-Last-Consumer", 0)) > count:
                return
            if message.status == 100 and not waits_on:
                yield message, None
            continue
        origin = Origin.of(message.reply)
        if origin is None or origin.consumer_sequence != count + 1:
            return
        count += 1
        yield message, origin


async def _next(messages: AsyncIterator[Message]) -> Message | None:
    """The next message; None when not even a heartbeat comes."""
    with anyio.move_on_after(2.5 * HEARTBEAT_S):
        return await anext(messages)
    return None
