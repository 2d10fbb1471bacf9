"""Clients that tick without a pause while something happens, and the account of it afterwards."""

from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from uuid import uuid4

import anyio

import vagus
from tests.kit.audit import RICH, ended_ticks
from tests.kit.services import stored, wait_until_empty
from tests.kit.system import System
from tests.kit.waiting import eventually

FREE = vagus.PolicySet(
    allow_capabilities=("*",), gate_capabilities=(), max_tool_runtime_secs=60, max_events_per_turn=256
)
ASKING = vagus.PolicySet(
    allow_capabilities=(),
    gate_capabilities=("fs:write:**",),
    max_tool_runtime_secs=60,
    max_events_per_turn=256,
)
TICK_S = 120.0
PAUSE_S = 0.5
"""Before somebody asks again."""
DRAINED_S = 90.0


@dataclass
class Load:
    """What the clients have done so far."""

    whole: System
    sessions: list[vagus.Session] = field(default_factory=list)
    ended: dict[str, list[str]] = field(default_factory=dict)
    """Ids of the ticks that have ended, by session."""
    asking: set[str] = field(default_factory=set)
    """Sessions whose calls need an approval each."""
    troubles: list[vagus.VagusError] = field(default_factory=list)
    """What clients were told instead of an end; they asked again."""
    stopping: bool = False

    @property
    def count(self) -> int:
        """Ticks that have ended."""
        return sum(map(len, self.ended.values()))

    async def progress(self, ticks: int = 1) -> None:
        """Wait until every session has ended so many ticks more."""
        wanted = {session: len(ended) + ticks for session, ended in self.ended.items()}
        await eventually(
            lambda: all(len(self.ended[session]) >= number for session, number in wanted.items()),
            timeout_s=TICK_S,
        )

    async def run(self, session: vagus.Session) -> None:
        """Tick until told to stop."""
        while not self.stopping:
            command_id = str(uuid4())
            number = len(self.ended[session.id])
            call = vagus.ToolCall(tool_name="fs.write", input={"path": f"f{number}", "content": "x"})
            output = await self._tick(session, call, command_id)
            if session.id in self.asking:
                (pending,) = output.pending_approvals
                await self._approve(pending.approval_id)
                await self._written(session, f"f{number}")
            else:
                assert [result.status for result in output.tool_results] == ["ok"], output
            self.ended[session.id].append(command_id)

    async def _tick(self, session: vagus.Session, call: vagus.ToolCall, command_id: str) -> vagus.TickOutput:
        while True:
            try:
                return await session.tick(
                    f"write {call.input}", tool=call, command_id=command_id, timeout_s=TICK_S
                )
            except (vagus.OutcomeUnknown, vagus.Unavailable) as error:
                await self._troubled(error)

    async def _approve(self, approval_id: str) -> None:
        while True:
            try:
                await self.whole.client.approve(approval_id, actor="boss")
            except (vagus.OutcomeUnknown, vagus.Unavailable) as error:
                await self._troubled(error)
            except vagus.ApprovalNotPending:
                if self.troubles:
                    return
                raise
            else:
                return

    async def _troubled(self, error: vagus.VagusError) -> None:
        self.troubles.append(error)
        await anyio.sleep(PAUSE_S)

    async def _written(self, session: vagus.Session, name: str) -> None:
        file = self.whole.root / "sessions" / session.id / name
        await eventually(file.exists, timeout_s=TICK_S)

    async def check(self) -> None:
        """Every tick ended once, the logs are whole, nothing is left and nothing was given up."""
        for name in ("INBOX", "GATE", "TOOLS", "APPROVALS"):
            await wait_until_empty(self.whole.bus, self.whole.subjects.named(name), timeout_s=DRAINED_S)
        for session in self.sessions:
            runs = len(self.ended[session.id])
            if session.id in self.asking:
                assert (await session.verify()).problems == ()
            else:
                assert await ended_ticks(session) == set(self.ended[session.id])
            seen = Counter([event.kind.type async for event in session.history()])
            assert (seen["ToolCallRequested"], seen["ToolCallCompleted"]) == (runs, runs)
            assert seen["ApprovalResolved"] == (runs if session.id in self.asking else 0)
        assert await stored(self.whole.bus, self.whole.subjects.named("DEAD")) == 0


@asynccontextmanager
async def load(whole: System, *, free: int = 2, asking: int = 1) -> AsyncIterator[Load]:
    """Sessions that tick with tools while the block lasts; those `asking` need an approval for every call.

    The block begins when each has ended a tick. After it each has ended the last one, and all is checked.
    """
    running = Load(whole)
    async with anyio.create_task_group() as tasks:
        for number in range(free + asking):
            asks = number >= free
            session = await whole.client.create_session(
                owner="me", policy=ASKING if asks else FREE, budget=RICH
            )
            running.sessions.append(session)
            running.ended[session.id] = []
            if asks:
                running.asking.add(session.id)
            tasks.start_soon(running.run, session)
        await running.progress()
        yield running
        await running.progress()
        running.stopping = True
    await running.check()
