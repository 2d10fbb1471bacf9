"""Draining from afar: a process is asked to finish its work and end, as by SIGTERM, and is waited for."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

import anyio

from vagus.contract.errors import NotFound, OutcomeUnknown, Unavailable
from vagus.contract.streams import MEMBERS
from vagus.contract.subjects import Subjects
from vagus.runtime.bucket import Bucket
from vagus.runtime.bus import Bus, Message
from vagus.runtime.lifecycle import Stop

DRAIN_S: Final = 30.0
"""How long a process is waited for, unless one says otherwise."""
LOOK_S: Final = 0.1
"""How often we look whether it has let go."""
ASK_S: Final = 3.0
"""Within this a process answers that it has begun."""
CLOSE_S: Final = 1.0


@asynccontextmanager
async def heeding(bus: Bus, subjects: Subjects, kind: str, instance: str, stop: Stop) -> AsyncIterator[None]:
    """Begin `stop` when somebody asks for it while the block lasts, and answer; once is enough."""

    def asked(message: Message) -> None:
        if not stop.draining.is_set():
            stop.request()
        if message.reply:
            bus.send(message.reply)

    subscription = await bus.subscribe_callback(subjects.drain(kind, instance), asked)
    try:
        yield
    finally:
        with anyio.move_on_after(CLOSE_S, shield=True):
            await subscription.unsubscribe()


async def drain(bus: Bus, subjects: Subjects, process: str, *, timeout_s: float) -> None:
    """Ask a process (such as `kernel.k1`) to end; returns when all its leases are gone.

    Raises:
        NotFound: No process of that name lives.
        Unavailable: It does not listen.
        OutcomeUnknown: It has not answered, or not ended in time; it may still be at it.
    """
    kind, instance = process_of(process)
    leases = Bucket(bus, subjects.named(MEMBERS))

    async def held() -> set[tuple[str, bytes]]:
        return {
            (entry.key, entry.value)
            for entry in await leases.entries()
            if process_of(entry.key) == (kind, instance)
        }

    before = await held()
    if not before:
        raise NotFound(f"no such process: {process} (`vagus status` lists those that live)")
    with anyio.move_on_after(timeout_s):
        try:
            await bus.request(subjects.drain(kind, instance), timeout_s=ASK_S)
        except Unavailable as error:
            raise Unavailable(f"{process} does not listen: {error.message}") from error
        while True:
            await anyio.sleep(LOOK_S)
            if not before & await held():  # another of its name has another body
                return
    raise OutcomeUnknown(
        f"{process} has not ended within {timeout_s:g} s; it may still be finishing its work"
    )


def process_of(key: str) -> tuple[str, str]:
    """Kind and instance of the process that a member's key belongs to; one runner has a key for each pool."""
    kind, _, rest = key.partition(".")
    return {"toolrunner": "runner"}.get(kind, kind), rest.rpartition(".")[2]
