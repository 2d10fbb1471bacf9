"""A kernel that does as the test says: for clients, which know kernels only by their answers and the log."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import anyio
import msgspec
from anyio.abc import TaskStatus

from tests.kit.events import records
from vagus.contract.codec import seal
from vagus.contract.commands import Command, Reply, decode_command
from vagus.contract.errors import ErrorInfo, VagusError
from vagus.contract.events import EventKind
from vagus.contract.messages import Role
from vagus.contract.subjects import Subjects
from vagus.runtime.bus import Bus
from vagus.runtime.eventlog import At, NoStream
from vagus.runtime.jetstream_log import JetStreamLog

Answer = Callable[[Command], object]
"""Returns the reply's `ok`, raises the error of the reply, or returns SILENCE."""

SILENCE = object()


class FakeKernel:
    """Answers what it hears, and writes to logs what it is told."""

    def __init__(self, bus: Bus, subjects: Subjects) -> None:
        self._bus = bus
        self._subjects = subjects
        self._log = JetStreamLog(bus, subjects)
        self._ends: dict[tuple[str, str], tuple[int, str]] = {}
        self.heard: list[Command] = []
        self.answer: Answer = lambda command: SILENCE

    async def write(self, session: str, *kinds: EventKind, branch: str = "main", tick: str = "t") -> None:
        """Commit events to a session's log, which is made if it is not there."""
        await self._log.create(session)
        head = await self._log.head(session)
        last, digest = self._ends.get((session, branch), (0, ""))
        sealed = seal(
            records(*kinds, first=last + 1, session=session, branch=branch, correlation_id=tick), digest
        )
        await self._log.commit(session, branch, sealed, At(head) if head else NoStream())
        self._ends[session, branch] = (last + len(kinds), sealed.digest)

    async def run(self, *, task_status: TaskStatus[None]) -> None:
        """Answer until cancelled."""
        async with self._bus.subscribe(self._subjects.inbox(Role.COMMAND, "*")) as messages:
            task_status.started()
            async for message in messages:
                command = decode_command(message.data)
                self.heard.append(command)
                await self._reply(command)

    async def _reply(self, command: Command) -> None:
        try:
            ok = self.answer(command)
        except VagusError as error:
            reply = Reply(command_id=command.command_id, error=ErrorInfo.of(error))
        else:
            if ok is SILENCE:
                return
            reply = Reply(command_id=command.command_id, ok=msgspec.Raw(msgspec.json.encode(ok)))
        await self._bus.publish(command.reply_to or "nobody", msgspec.json.encode(reply))


@asynccontextmanager
async def fake_kernel(bus: Bus, subjects: Subjects) -> AsyncIterator[FakeKernel]:
    """One that listens while the block runs."""
    kernel = FakeKernel(bus, subjects)
    async with anyio.create_task_group() as tasks:
        await tasks.start(kernel.run)
        yield kernel
        tasks.cancel_scope.cancel()
