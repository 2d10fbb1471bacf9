"""What is played on a deployment: sessions that write file after file, and the checker's account of it."""

import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from itertools import count
from pathlib import Path

import anyio
import msgspec
from anyio.to_thread import run_sync

import vagus
from tests.kit.documents import ROOT
from tests.kit.waiting import eventually
from vagus.contract.errors import VagusError
from vagus.runtime.settings import Access

SESSIONS = 4
TICK_S = 240
POLICY = vagus.PolicySet(
    allow_capabilities=("fs:write:*", "exec:cmd:*"),
    gate_capabilities=(),
    max_tool_runtime_secs=60,
    max_events_per_turn=256,
)


@asynccontextmanager
async def working(client: vagus.Client, book: Path) -> AsyncIterator[list[vagus.Session]]:
    """Sessions that write file after file while the block lasts; `book` tells of what was accepted.

    Afterwards the log of each is verified.
    """
    enough = anyio.Event()

    async def work(session: vagus.Session) -> None:
        for number in count():
            command_id = f"{session.id}-{number}"
            call = vagus.ToolCall(
                tool_name="fs.write", input={"path": f"artifacts/{number}", "content": command_id}
            )
            await _until_it_ended(session, f"tick {number}", call, command_id)
            with book.open("ab") as lines:
                line = {"session_id": session.id, "branch_id": "main", "command_id": command_id}
                lines.write(msgspec.json.encode(line) + b"\n")
            if enough.is_set():
                return

    sessions = [await client.create_session(owner="test", policy=POLICY) for _ in range(SESSIONS)]
    async with anyio.create_task_group() as workers:
        for session in sessions:
            workers.start_soon(work, session)
        yield sessions
        enough.set()
    for session in sessions:
        assert (await eventually(session.verify, timeout_s=60)).ok


async def _until_it_ended(
    session: vagus.Session, objective: str, call: vagus.ToolCall, command_id: str
) -> None:
    """Send a tick, the same again while nobody says how it ended: it runs once all the same."""
    with anyio.fail_after(TICK_S):
        while True:
            try:
                await session.tick(objective, tool=call, command_id=command_id)
            except VagusError as error:
                if error.type not in ("Unavailable", "OutcomeUnknown"):
                    raise
                await anyio.sleep(0.5)
            else:
                return


async def check(url: str, operator: Access, book: Path) -> None:
    """Have the checker of chaos runs look at all that lies on the servers."""
    checker = [sys.executable, "-m", "chaos.checker", "--server", url, "--accepted", str(book)]
    checker += ["--nkey", str(operator.nkey), "--tls-ca", str(operator.tls_ca)]
    checker += ["--inbox-prefix", operator.inbox_prefix, "--drain", "120"]
    checked = partial(subprocess.run, checker, cwd=ROOT, capture_output=True, text=True, timeout=400)
    run = await run_sync(checked)
    assert run.returncode == 0, run.stdout + run.stderr
