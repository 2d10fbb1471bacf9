"""Ctrl-C at any moment: it stops in time, and every tick that was taken ends once, at the next start."""

import random
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from typing import Any
from unittest.mock import patch

import anyio

import vagus
from tests.kit.audit import RICH, ended_ticks
from tests.kit.services import stored, wait_until_empty
from tests.kit.up import ENVIRON, Terminal, alive, up
from tests.kit.waiting import eventually
from vagus.runtime.bus import Bus, Stored

SESSIONS = ("a", "b", "c")
TICKERS = 3
"""Of each session: one tick is at work, others wait."""
POLICY = vagus.PolicySet(
    allow_capabilities=("*",), gate_capabilities=(), max_tool_runtime_secs=20, max_events_per_turn=256
)
SETTINGS = {**ENVIRON, "VAGUS_ALLOWED_COMMANDS": "sh"}


class Load:
    """Clients that tick without end; what they sent, and what of it the server said that it has."""

    def __init__(self) -> None:
        self.sent: set[str] = set()
        self.taken: set[str] = set()
        self._numbers = count()

    @contextmanager
    def noting(self, bus: Bus) -> Iterator[None]:
        """Note whatever a client stores."""
        store = bus.store

        async def note(subject: str, data: bytes, *, msg_id: str, **more: Any) -> Stored:
            done = await store(subject, data, msg_id=msg_id, **more)
            self.taken.add(msg_id)
            return done

        with patch.object(bus, "store", note):
            yield

    async def tick(self, session: vagus.Session) -> None:
        """Until cancelled."""
        for number in self._numbers:
            command_id = f"{session.id}-{number}"
            self.sent.add(command_id)
            await session.tick(command_id, tool=call(number, command_id), command_id=command_id)


def call(number: int, path: str) -> vagus.ToolCall | None:
    """A call that may be repeated, one that may not be, or none."""
    match number % 3:
        case 0:
            return vagus.ToolCall(tool_name="fs.write", input={"path": "note", "content": path})
        case 1:
            script = {"command": "sh", "args": ["-c", f"printf x >> ran-{path}"]}
            return vagus.ToolCall(tool_name="shell.exec", input=script)
    return None


async def under_load(terminal: Terminal, load: Load, ticks: int, delay_s: float) -> None:
    """Ctrl-C when so many ticks were taken and a moment has passed."""
    running = await terminal.ready()
    async with vagus.connect(running.server) as client, anyio.create_task_group() as tasks:
        with load.noting(client.bus):
            enough = len(load.taken) + ticks
            for name in SESSIONS:
                session = await client.create_session(owner="me", policy=POLICY, session_id=name, budget=RICH)
                for _ in range(TICKERS):
                    tasks.start_soon(load.tick, session)
            await eventually(lambda: len(load.taken) >= enough, timeout_s=60, every_s=0.001)
            await anyio.sleep(delay_s)
            terminal.ctrl_c()
            assert await terminal.stopped() == 0
            tasks.cancel_scope.cancel()
    assert not any(alive(pid) for pid in running.pids)


async def test_ctrl_c_at_any_moment_loses_no_tick_and_doubles_none(tmp_path: Path) -> None:
    chance, load, store = random.Random(3), Load(), tmp_path / "store"
    for _ in range(2):
        async with up(store, environ=SETTINGS) as terminal:
            await under_load(terminal, load, chance.randint(3, 60), chance.uniform(0, 0.03))
        async with up(store, environ=SETTINGS) as terminal:
            await anyio.sleep(chance.uniform(0, 2))  # while it starts, or has just begun to work
            terminal.ctrl_c()
            await terminal.stopped()
    async with (
        up(store, environ=SETTINGS) as terminal,
        vagus.connect((await terminal.ready()).server) as client,
    ):
        for queue in ("INBOX", "GATE", "TOOLS", "APPROVALS"):
            await wait_until_empty(client.bus, client.subjects.named(queue), timeout_s=60)
        assert await stored(client.bus, client.subjects.named("DEAD")) == 0
        ended = [await ended_ticks(await client.session(name)) for name in SESSIONS]
        assert load.taken & load.sent <= set().union(*ended) <= load.sent
        ran = list((store / "root" / "sessions").glob("*/ran-*"))
        assert {path.read_text() for path in ran} <= {"x"}
        terminal.ctrl_c()
        assert await terminal.stopped() == 0
