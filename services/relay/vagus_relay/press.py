"""Puts events into the firehose: what waits goes along in one atomic batch, a session's own part in order.

Every part names the last message of its session that the firehose has. So of two relays that work on one
session the server refuses one, whatever was delayed or sent again, and a part is there whole or not at all.
"""

from collections import deque
from collections.abc import Sequence
from typing import Final
from uuid import uuid4

import anyio

from vagus.contract import limits
from vagus.contract.errors import Conflict, Unavailable, VagusError
from vagus.contract.subjects import Subjects
from vagus.runtime import faults
from vagus.runtime.bus import ApiError, Bus
from vagus_relay.event import EventMessage

BATCH_SENT: Final = "relay.batch_sent"
"""Fault point: all of a batch but its last message is with the server."""
BATCH_STORED: Final = "relay.batch_stored"
"""Fault point: the events are in the firehose, nobody here knows it yet."""

BATCH_MESSAGES: Final = 512
"""Of one batch; the server takes 1 000."""
BATCH_BYTES: Final = 2 * limits.MIB
"""About; one event alone may have 1 MiB."""
_EXPECTED: Final = "Nats-Expected-Last-Subject-Sequence"
_INCOMPLETE: Final = 10176
_REPEATS_ID: Final = 10201
"""A message of the batch was stored before, within the duplicate window."""


class Part:
    """Events of one session, in order, that wait to be stored together."""

    def __init__(self, session_id: str, place: int, messages: Sequence[EventMessage]) -> None:
        self.session_id = session_id
        self.place = place
        """Of the session's last message in the firehose's stream, as we know it; 0: it has none."""
        self.messages = messages
        self.size = sum(len(message.line) for message in messages)
        self.settled = anyio.Event()
        self.error: VagusError | None = None


class Press:
    """One batch is under way at a time: the server stores one large batch faster than several small ones."""

    def __init__(self, bus: Bus, subjects: Subjects) -> None:
        self._bus = bus
        self._subjects = subjects
        self._waiting: deque[Part] = deque()
        self._arrived = anyio.Event()

    async def store(self, session_id: str, place: int, messages: Sequence[EventMessage]) -> int:
        """Store them if the session's last message stands at `place`; returns where its last one stands then.

        At most `BATCH_MESSAGES`, and one call a session at a time. One message alone is passed over if it was
        stored within the duplicate window, be it there still or not.

        Raises:
            Conflict: It stands elsewhere, or some of several are stored already. Nothing was stored.
            Unavailable, Busy: Nothing was stored.
            OutcomeUnknown: All or nothing was stored, or will be.
        """
        part = Part(session_id, place, messages)
        self._waiting.append(part)
        self._arrived.set()
        await part.settled.wait()
        if part.error is not None:
            raise part.error
        return part.place

    async def run(self) -> None:
        """Store what waits, for ever."""
        while True:
            await self._arrived.wait()
            self._arrived = anyio.Event()
            while self._waiting:
                await self._settle(self._take())

    def _take(self) -> list[Part]:
        """What goes into the next batch."""
        taken = [self._waiting.popleft()]
        count, size = len(taken[0].messages), taken[0].size
        while self._waiting:
            count, size = count + len(self._waiting[0].messages), size + self._waiting[0].size
            if count > BATCH_MESSAGES or size > BATCH_BYTES:
                break
            taken.append(self._waiting.popleft())
        return taken

    async def _settle(self, parts: list[Part]) -> None:
        try:
            end = await self._store(parts)
        except Conflict as error:
            if len(parts) == 1:
                parts[0].error = error
            else:  # one of them is to blame, and the server does not say which
                for part in parts:
                    await self._settle([part])
                return
        except VagusError as error:
            for part in parts:
                part.error = error
        else:
            for part in reversed(parts):
                part.place, end = end, end - len(part.messages)
        for part in parts:
            part.settled.set()

    async def _store(self, parts: list[Part]) -> int:
        """The place of the last message."""
        sent = [
            (message, _headers(message, self._filter(part) if not n else "", part.place))
            for part in parts
            for n, message in enumerate(part.messages)
        ]
        message, headers = sent[-1]
        if len(sent) > 1:
            batch = uuid4().hex
            for number, (staged, own) in enumerate(sent[:-1], 1):
                own |= {"Nats-Batch-Id": batch, "Nats-Batch-Sequence": str(number)}
                await self._bus.publish(staged.subject, staged.line, headers=own)
            headers |= {
                "Nats-Batch-Id": batch,
                "Nats-Batch-Sequence": str(len(sent)),
                "Nats-Batch-Commit": "1",
            }
        faults.hit(BATCH_SENT)
        try:
            stored = await self._bus.store(message.subject, message.line, headers=headers)
        except ApiError as error:
            if error.err_code == _REPEATS_ID:
                raise Conflict("some of these events are in the firehose already") from error
            if error.err_code == _INCOMPLETE:
                raise Unavailable("a part of a batch was lost on the way, so none was stored") from error
            raise
        faults.hit(BATCH_STORED)
        return parts[0].place if stored.duplicate else stored.sequence

    def _filter(self, part: Part) -> str:
        return self._subjects.event(part.session_id)


def _headers(message: EventMessage, expected_of: str, place: int) -> dict[str, str]:
    headers = dict(message.headers)
    if expected_of:
        headers |= {_EXPECTED: str(place), f"{_EXPECTED}-Subject": expected_of}
    return headers
