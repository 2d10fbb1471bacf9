"""What a running tool shows to those who watch now."""

import asyncio
import threading
from collections.abc import Callable

import msgspec

from vagus.contract import limits
from vagus.contract.json import Json
from vagus.contract.live import ToolProgress
from vagus.contract.messages import ToolRequest
from vagus.contract.subjects import Subjects
from vagus.runtime.bus import Bus


class Live:
    """Publishes progress on the sessions' live subjects: at most once, kept nowhere."""

    def __init__(self, bus: Bus, subjects: Subjects) -> None:
        self._bus = bus
        self._loop = asyncio.get_running_loop()
        self._subjects = subjects
        self._thread = threading.get_ident()

    def of(self, request: ToolRequest) -> Callable[[Json], None]:
        """What publishes progress of this call, from any thread; ValueError if a piece of it is too long."""
        subject = self._subjects.live(request.session_id, request.branch_id)

        def emit(progress: Json) -> None:
            data = msgspec.json.encode(
                ToolProgress(tool_run_id=request.tool_run_id, tool_name=request.call.tool_name, data=progress)
            )
            if len(data) > limits.PROGRESS_BYTES:
                raise ValueError(f"{len(data)} bytes of progress, at most {limits.PROGRESS_BYTES} at a time")
            if threading.get_ident() == self._thread:
                self._bus.send(subject, data)
            elif not self._loop.is_closed():
                self._loop.call_soon_threadsafe(self._bus.send, subject, data)

        return emit
