"""The mover: puts ticks whose time has come into the inbox. Any kernel moves those of any session.

What it stores has an id that follows from the firing alone, so that a crash between storing and acking
repeats nothing: the inbox knows the id for two minutes, the session for its last thousand commands.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

import msgspec
from msgspec.structs import replace

from vagus.contract import limits
from vagus.contract.commands import Tick
from vagus.contract.errors import Malformed
from vagus.contract.messages import Role, decode
from vagus.contract.schedules import FIRED_HEADER, NEXT_HEADER, SCHEDULER_HEADER, firing_id
from vagus.contract.streams import due_consumer
from vagus.contract.subjects import Subjects
from vagus.runtime import clock
from vagus.runtime.bus import Bus
from vagus.runtime.faults import hit
from vagus.runtime.intake import intake
from vagus.runtime.queue import Delivery

KIND: Final = "kernel"
TAKEN: Final = "kernel.due_taken"
"""Fault point: a tick is due, and not in the inbox."""
STORED: Final = "kernel.due_stored"
"""Fault point: it is in both queues."""


@asynccontextmanager
async def moving(bus: Bus, subjects: Subjects) -> AsyncIterator[None]:
    """Move what is due while the block lasts. What a full inbox refuses stays due."""

    async def move(delivery: Delivery) -> None:
        schedule_id, tick = _fired(subjects, delivery)
        hit(TAKEN)
        await bus.store(
            subjects.inbox(Role.COMMAND, tick.session_id),
            msgspec.json.encode(tick),
            msg_id=tick.command_id,
            headers={FIRED_HEADER: schedule_id},
        )
        hit(STORED)

    async with intake(bus, subjects, due_consumer(subjects), move, capacity=limits.DUE_HELD, kind=KIND):
        yield


def _fired(subjects: Subjects, delivery: Delivery) -> tuple[str, Tick]:
    """The schedule and the tick as it is to begin now: of the session that the schedule's subject names."""
    schedule = subjects.schedule_of(delivery.headers.get(SCHEDULER_HEADER, ""))
    following = delivery.headers.get(NEXT_HEADER)
    if schedule is None or following is None:
        raise Malformed("due without a schedule")
    session_id, schedule_id = schedule
    if session_id != Subjects.last_token(delivery.subject):
        raise Malformed("due for another session than that of its schedule")
    tick = decode(delivery.data, Tick)
    if tick.session_id != session_id:
        raise Malformed("not a tick of the session that its subject names")
    command_id = firing_id(schedule_id, following)
    return schedule_id, replace(tick, command_id=command_id, reply_to=None, sent_at=clock.now())
