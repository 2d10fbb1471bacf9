"""Following a log: a consumer that delivers what is stored and then what comes, made anew when it is lost."""

from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing, asynccontextmanager
from typing import Final

import anyio

from vagus.contract.errors import Unavailable
from vagus.contract.subjects import Subjects
from vagus.runtime.bus import Bus, Message
from vagus.runtime.eventlog import Commit
from vagus.runtime.jetstream_log.consumer import create_consumer, seconds
from vagus.runtime.jetstream_log.names import StreamNames
from vagus.runtime.jetstream_log.patience import PATIENCE_S
from vagus.runtime.jetstream_log.stored import Delivery, from_consumer

HEARTBEAT_S: Final = 1.0
SILENCE_S: Final = 2.5
"""A consumer that says nothing for this long, not even a heartbeat, is lost."""
QUEUED: Final = 8192
"""Messages that wait for a slow reader. The server's flow control bounds their bytes to 32 MiB."""
_RETRY_FIRST_S: Final = 0.1
_RETRY_MOST_S: Final = 2.0


async def follow(
    bus: Bus, subjects: Subjects, names: StreamNames, session_id: str, branch_id: str | None, after: int
) -> AsyncGenerator[Commit, None]:
    """See `EventLog.follow`. Only its first attempt to reach the server may fail."""
    pause_s = 0.0
    give_up_at = anyio.current_time() + PATIENCE_S
    while True:
        try:
            async with _delivered(
                bus, subjects, names.of(session_id), session_id, branch_id, after
            ) as messages:
                pause_s = _RETRY_FIRST_S
                async with aclosing(_commits(bus, session_id, messages)) as commits:
                    async for commit in commits:
                        after = commit.stream_sequence
                        yield commit
        except Unavailable:
            if pause_s == 0.0 and (not bus.connected or anyio.current_time() > give_up_at):
                raise
        await anyio.sleep(pause_s or _RETRY_FIRST_S)
        pause_s = min(2 * pause_s, _RETRY_MOST_S)


@asynccontextmanager
async def _delivered(
    bus: Bus, subjects: Subjects, stream: str, session_id: str, branch_id: str | None, after: int
) -> AsyncIterator[AsyncIterator[Message]]:
    """What a new consumer delivers."""
    inbox = bus.new_inbox()
    async with bus.subscribe(inbox, limit=QUEUED) as messages:
        await create_consumer(
            bus,
            subjects,
            stream,
            session_id,
            branch_id,
            inbox=inbox,
            start=after + 1,
            options={
                "ack_policy": "none",
                "flow_control": True,
                "idle_heartbeat": seconds(HEARTBEAT_S),
            },
        )
        yield messages


async def _commits(
    bus: Bus, session_id: str, messages: AsyncIterator[Message]
) -> AsyncGenerator[Commit, None]:
    """The commits of one consumer, until one is missing or the consumer is lost."""
    received = 0
    while (message := await _next(messages)) is not None:
        if "Status" in message.headers:
            if _answer(bus, message) > received:
                return
            continue
        delivery = Delivery.of(message)
        if delivery.consumer_sequence != received + 1:
            return
        received += 1
        yield from_consumer(session_id, message, delivery)


async def _next(messages: AsyncIterator[Message]) -> Message | None:
    """The next message; None when none comes: the consumer, the server or the connection is gone."""
    with anyio.move_on_after(SILENCE_S):
        return await anext(messages)
    return None


def _answer(bus: Bus, status: Message) -> int:
    """Let the server go on, if it waits for us; returns how many messages it says to have delivered.

    A flow control message is answered when the reader has come to it: that bounds what is under way.
    """
    waits_on = status.reply or status.headers.get("Nats-Consumer-Stalled")
    if waits_on:
        bus.send(waits_on)
    return int(status.headers.get("Nats-Last-Consumer", 0))
