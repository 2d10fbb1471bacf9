"""Intake: takes a queue's messages, gives each to a task, and settles it by how the task ended.

| the handler               | the message                                                               |
|---------------------------|---------------------------------------------------------------------------|
| returns                   | is done                                                                   |
| raises Permanent          | goes to the dead letters                                                  |
| raises another VagusError | is handled again here, later and later; after `patience_s` by anybody     |
| raises anything else      | ends the process: it is delivered again, the fifth time to the dead letters |
| is cancelled              | is given back at once                                                     |

So a handler must be idempotent, and what it waits for need not be repeated by itself.
"""

import logging
import math
import random
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Final

import anyio

from vagus.contract.errors import Permanent, VagusError
from vagus.contract.ids import is_id
from vagus.contract.streams import ConsumerSpec
from vagus.contract.subjects import Subjects
from vagus.runtime.bus import Bus
from vagus.runtime.queue import Delivery, KeepAlive, Pull, dead_letter
from vagus.runtime.tiers import TieredPull

RETRY_FIRST_S: Final = 0.1
RETRY_MOST_S: Final = 5.0
GIVE_BACK_S: Final = 1.0

_log = logging.getLogger(__name__)


@asynccontextmanager
async def intake(
    bus: Bus,
    subjects: Subjects,
    consumer: ConsumerSpec | Sequence[ConsumerSpec],
    handle: Callable[[Delivery], Awaitable[None]],
    *,
    capacity: int,
    kind: str,
    patience_s: float = math.inf,
) -> AsyncIterator[None]:
    """Take messages while the block lasts, at most `capacity` at a time; leaving it waits for those in hand.

    Of several consumers the first is the most urgent (`TieredPull`).
    `kind` names the process in dead letters; the last token of a message's subject is taken for its session.
    `patience_s` bounds how long one message is handled again and again before it is given back to the queue.
    """
    async with KeepAlive(bus) as alive, anyio.create_task_group() as jobs:
        clerk = _Clerk(
            alive=alive, bus=bus, handle=handle, kind=kind, patience_s=patience_s, subjects=subjects
        )

        def deliver(delivery: Delivery) -> None:
            jobs.start_soon(clerk.settle, delivery)

        def hand_on(delivery: Delivery) -> None:
            jobs.start_soon(clerk.hand_on, delivery)

        pull: Pull | TieredPull
        if isinstance(consumer, ConsumerSpec):
            pull = Pull(bus, consumer, capacity=capacity, deliver=deliver)
        else:
            pull = TieredPull(bus, consumer, capacity=capacity, deliver=deliver, hand_on=hand_on)
        try:
            async with pull:
                yield
        finally:
            clerk.leaving.set()


class _Clerk:
    def __init__(
        self,
        *,
        alive: KeepAlive,
        bus: Bus,
        handle: Callable[[Delivery], Awaitable[None]],
        kind: str,
        patience_s: float,
        subjects: Subjects,
    ) -> None:
        self._alive = alive
        self._bus = bus
        self._handle = handle
        self._kind = kind
        self._patience_s = patience_s
        self._subjects = subjects
        self.leaving = anyio.Event()

    async def settle(self, delivery: Delivery) -> None:
        """Handle one message to its end."""
        self._alive.hold(delivery)
        try:
            if await delivery.worn_out():
                await self._bury(delivery, f"given up at delivery {delivery.deliveries}")
            elif await self._handled(delivery):
                await delivery.ack()
            elif self.leaving.is_set():
                await delivery.give_back(_jittered(RETRY_FIRST_S))
            else:
                await delivery.nak(_jittered(RETRY_MOST_S))
        except Permanent as error:
            await self._bury(delivery, f"{error.type}: {error.message}")
        except anyio.get_cancelled_exc_class():
            # Cut short, our own pull still stands: it would get the message right back, again and again.
            delivery.give_back_nowait(0 if self.leaving.is_set() else GIVE_BACK_S)
            raise
        finally:
            self._alive.drop(delivery)

    async def hand_on(self, delivery: Delivery) -> None:
        """Put a message for which there is no room here on its queue again.

        Not by a nak: that would count as a delivery, of which a message has only so many.
        """
        headers = dict(delivery.headers)
        headers["Nats-Msg-Id"] = f"{delivery.stream}.{delivery.stream_sequence}"
        try:
            await self._bus.store(delivery.subject, delivery.data, headers=headers)
        except VagusError as error:
            _log.info("%s is not handed on but given back: %s", delivery.subject, error)
            await delivery.nak(GIVE_BACK_S)
        else:
            await delivery.ack()

    async def _handled(self, delivery: Delivery) -> bool:
        """Handle it, again and again while that can help; False when it should be somebody else's."""
        give_up_at = anyio.current_time() + self._patience_s
        wait_s = RETRY_FIRST_S
        while True:
            try:
                await self._handle(delivery)
            except Permanent:
                raise
            except VagusError as error:
                _log.warning("%s: %s: %s; trying again", delivery.subject, error.type, error.message)
            else:
                return True
            with anyio.move_on_after(_jittered(wait_s)):
                await self.leaving.wait()
            if self.leaving.is_set() or anyio.current_time() > give_up_at:
                return False
            wait_s = min(wait_s * 2, RETRY_MOST_S)

    async def _bury(self, delivery: Delivery, reason: str) -> None:
        session = Subjects.last_token(delivery.subject)
        where = f"{self._kind}.{session}" if is_id(session) else self._kind
        await dead_letter(self._bus, self._subjects, where, delivery, reason)


def _jittered(seconds: float) -> float:
    return seconds * random.uniform(0.5, 1)  # noqa: S311 - spreads load, keeps no secret
