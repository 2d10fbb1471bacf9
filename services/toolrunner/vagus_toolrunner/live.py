"""What running tools show to those who watch now."""

import asyncio
import threading
from collections import deque
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Final

import anyio
import msgspec

from vagus.contract import limits
from vagus.contract.json import Json
from vagus.contract.live import ToolProgress
from vagus.contract.messages import ToolRequest
from vagus.contract.subjects import Subjects
from vagus.runtime.bus import Bus

WAITING_BYTES: Final = 1 * limits.MIB
"""Of pieces that wait for the socket; what is beyond is dropped: a tool may say more than can be sent."""


class Live:
    """Publishes progress on the sessions' live subjects: at most once, kept nowhere. Made by `live`."""

    def __init__(self, bus: Bus, subjects: Subjects) -> None:
        self._arrived = asyncio.Event()
        self._bus = bus
        self._lock = threading.Lock()
        self._loop = asyncio.get_running_loop()
        self._subjects = subjects
        self._waiting: deque[tuple[str, bytes]] = deque()
        self._waiting_bytes = 0
        self.dropped = 0
        """Pieces that found no room."""

    def of(self, request: ToolRequest) -> Callable[[Json], None]:
        """What shows progress of this call, from any thread; ValueError if a piece of it is too long."""
        subject = self._subjects.live(request.session_id, request.branch_id)

        def emit(progress: Json) -> None:
            data = msgspec.json.encode(
                ToolProgress(tool_run_id=request.tool_run_id, tool_name=request.call.tool_name, data=progress)
            )
            if len(data) > limits.PROGRESS_BYTES:
                raise ValueError(f"{len(data)} bytes of progress, at most {limits.PROGRESS_BYTES} at a time")
            self._put(subject, data)

        return emit

    async def send_all(self) -> None:
        """Send what is put here, at the pace of the socket; does not return."""
        while True:
            await self._arrived.wait()
            self._arrived.clear()
            while self._waiting:
                with self._lock:
                    subject, data = self._waiting.popleft()
                    self._waiting_bytes -= len(data)
                await self._bus.publish(subject, data)

    def _put(self, subject: str, data: bytes) -> None:
        with self._lock:
            if self._waiting_bytes + len(data) > WAITING_BYTES:
                self.dropped += 1
                return
            first = not self._waiting
            self._waiting.append((subject, data))
            self._waiting_bytes += len(data)
        if first and not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._arrived.set)


@asynccontextmanager
async def live(bus: Bus, subjects: Subjects) -> AsyncIterator[Live]:
    """A `Live` that sends while the block lasts."""
    made = Live(bus, subjects)
    async with anyio.create_task_group() as group:
        group.start_soon(made.send_all)
        yield made
        group.cancel_scope.cancel()
