"""The client's letter box: one subscription for the answers to everything it asks."""

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager

import anyio

from vagus.contract.commands import Reply
from vagus.contract.errors import Malformed
from vagus.contract.messages import decode
from vagus.runtime.bus import Bus, Message


class Awaited:
    """An answer that has come or will."""

    def __init__(self, reply_to: str) -> None:
        self.reply_to = reply_to
        self._stir = anyio.Event()
        self._reply: Reply | None = None

    async def reply(self, timeout_s: float) -> Reply | None:
        """The reply; None when it has not come in time, or when there is reason to look for it elsewhere."""
        with anyio.move_on_after(timeout_s):
            await self._stir.wait()
        if self._reply is None:
            self._stir = anyio.Event()
        return self._reply

    async def settled(self, timeout_s: float) -> Reply | None:
        """The reply; None when it has not come in time. A lost connection does not end this wait."""
        deadline = anyio.current_time() + timeout_s
        while (left := deadline - anyio.current_time()) > 0:
            reply = await self.reply(left)
            if reply is not None:
                return reply
        return None

    def put(self, reply: Reply) -> None:
        """Keep the first answer; an effect performed twice gives two."""
        if self._reply is None:
            self._reply = reply
        self._stir.set()

    def stir(self) -> None:
        """End the wait without an answer: the connection was lost, and a reply may have been with it."""
        self._stir.set()


class Replies:
    """Hands each reply to whoever waits for it; late and foreign ones are dropped: the log has the truth."""

    def __init__(self, prefix: str) -> None:
        self.prefix = prefix
        """Of all our addresses."""
        self._awaited: dict[str, Awaited] = {}
        self._made = 0

    @contextmanager
    def expect(self) -> Iterator[Awaited]:
        """An address to be answered at, for as long as the context lasts."""
        self._made += 1
        awaited = Awaited(f"{self.prefix}.{self._made}")
        self._awaited[awaited.reply_to] = awaited
        try:
            yield awaited
        finally:
            del self._awaited[awaited.reply_to]

    def stir_all(self) -> None:
        """End all waits; see `Awaited.stir`."""
        for awaited in self._awaited.values():
            awaited.stir()

    def deliver(self, message: Message) -> None:
        """Take one message from the wire."""
        awaited = self._awaited.get(message.subject)
        if awaited is None:
            return
        try:
            awaited.put(decode(message.data, Reply))
        except Malformed:
            awaited.stir()


@asynccontextmanager
async def open_replies(bus: Bus) -> AsyncIterator[Replies]:
    """Subscribe to an inbox of our own."""
    replies = Replies(bus.new_inbox())
    subscription = await bus.subscribe_callback(f"{replies.prefix}.*", replies.deliver)
    bus.on_reconnect(replies.stir_all)
    try:
        yield replies
    finally:
        with anyio.move_on_after(1, shield=True):
            await subscription.unsubscribe()
