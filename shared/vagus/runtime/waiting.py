"""What waits for messages: a call for its replies, a feed for its reader."""

import asyncio
from collections import deque
from collections.abc import Callable

from vagus.contract.errors import Unavailable, VagusError
from vagus.runtime.wire import Message


class Call:
    """A request that waits for its reply, or for its replies up to the one for which `last` holds."""

    __slots__ = ("_last", "deadline", "done", "replies")

    def __init__(
        self,
        done: asyncio.Future[VagusError | None],
        deadline: float,
        last: Callable[[Message], bool] | None,
    ) -> None:
        self.done = done
        self.deadline = deadline
        self.replies: list[Message] = []
        self._last = last

    def take(self, reply: Message) -> None:
        """One more reply."""
        if not self.done.done():
            self.replies.append(reply)
            if self._last is None or reply.status == 503 or self._last(reply):
                self.done.set_result(None)

    def end(self, error: VagusError) -> None:
        """No reply will come, for this reason."""
        if not self.done.done():
            self.done.set_result(error)


class Feed:
    """A bounded mailbox between the connection and one reader."""

    def __init__(self, subject: str, limit: int) -> None:
        self._subject = subject
        self._limit = limit
        self._waiting: deque[Message] = deque()
        self._dropped = 0
        self._arrived = asyncio.Event()

    def put(self, message: Message) -> None:
        """One more message; beyond the limit it is only counted."""
        if len(self._waiting) >= self._limit:
            self._dropped += 1
        else:
            self._waiting.append(message)
        self._arrived.set()

    def __aiter__(self) -> "Feed":
        return self

    async def __anext__(self) -> Message:
        while not self._waiting:
            if self._dropped:
                dropped, self._dropped = self._dropped, 0
                raise Unavailable(f"{dropped} messages of {self._subject} were lost: the reader is too slow")
            self._arrived.clear()
            await self._arrived.wait()
        return self._waiting.popleft()
