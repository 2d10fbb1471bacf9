"""The caretaker: removes once more what a server has brought back of erased sessions. One kernel does it.

nats-server 2.15 writes down that a message was removed, but not that one was replaced by the next of its
subject. When it is killed, and then reads its blocks, of a value that was set twice and removed the first one
is there again. Nothing of ours can keep it from that, so that we look when we are connected anew.
"""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Final

import anyio

from vagus.contract.errors import VagusError
from vagus.contract.subjects import Subjects
from vagus.runtime.beside import beside
from vagus.runtime.bus import Bus
from vagus.runtime.eraser import Eraser
from vagus.runtime.graves import Graves

LOOK_S: Final = 1.0


class Caretaker:
    """Of one kernel; `chosen` says whether it is the one that does it now."""

    def __init__(self, bus: Bus, subjects: Subjects, chosen: Callable[[], bool]) -> None:
        self._chosen = chosen
        self._doubtful = True
        self._eraser = Eraser(bus, subjects)
        self._graves = Graves(bus, subjects)

    def doubt(self) -> None:
        """The server may be another one, or may have been away."""
        self._doubtful = True

    async def run(self) -> None:
        """Look whenever there is doubt, for ever; who is not chosen keeps the doubt until it is."""
        while True:
            await anyio.sleep(LOOK_S)
            if self._doubtful and self._chosen():
                self._doubtful = False
                try:
                    await self.tend()
                except VagusError:  # the next look is soon
                    self._doubtful = True

    async def tend(self) -> None:
        """Sweep for every erasure that has ended, and left a trace; raises as `Eraser`."""
        tombstones = await self._graves.all()
        ended = {tombstone.session_id for tombstone in tombstones if tombstone.erased_at is not None}
        for session_id in sorted(await self._eraser.traced(ended)) if ended else ():
            await self._eraser.sweep(session_id, blobs=False)


@asynccontextmanager
async def tending(bus: Bus, subjects: Subjects, chosen: Callable[[], bool]) -> AsyncIterator[None]:
    """Look after the erased while the block lasts."""
    caretaker = Caretaker(bus, subjects, chosen)
    forget = bus.on_reconnect(caretaker.doubt)
    try:
        async with beside(caretaker.run):
            yield
    finally:
        forget()
