"""A whole Vagus to measure: an embedded server, all processes, a client."""

import logging
import os
import signal
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from time import perf_counter
from typing import Final
from uuid import uuid4

import anyio
import msgspec

import vagus
from benchmarks.machine import CpuMeter
from vagus.runtime.embedded import Durability
from vagus.runtime.supervisor import Plan, Supervisor, supervise

OWN: Final = ("kernel", "policygate", "toolrunner", "approver")
"""Our processes, by kind."""

RESTART_S: Final = 120.0
MANY: Final = 10**9
BUDGET: Final = vagus.BudgetState(
    tokens_remaining=MANY,
    time_remaining_ms=MANY,
    cost_remaining_usd=float(MANY),
    tool_calls_remaining=MANY,
    error_budget_remaining=MANY,
)
"""So that no tick is refused."""
POLICY: Final = vagus.PolicySet(
    allow_capabilities=("fs:read:/session/**",),
    gate_capabilities=("payments:initiate",),
    max_tool_runtime_secs=30,
    max_events_per_turn=256,
)

_log = logging.getLogger("benchmarks")


class Installation:
    """What runs."""

    def __init__(self, client: vagus.Client, supervisor: Supervisor, folder: Path) -> None:
        self.client: Final = client
        self._supervisor = supervisor
        self._script = folder / "script.json"

    @property
    def url(self) -> str:
        """Of the server."""
        return self._supervisor.url

    @property
    def server_pid(self) -> int:
        """Of the embedded server, which must be running."""
        server = self._supervisor.server
        if server is None or server.pid is None:
            raise RuntimeError("no server of its own is running")
        return server.pid

    def meter(self, servers: Sequence[int] = ()) -> CpuMeter:
        """Measures all processes and this one from now on; `servers` are those that are not its own."""
        pids: dict[str, Sequence[int]] = {kind: self.pids(kind) for kind in OWN}
        own = self._supervisor.server
        if own is not None and own.pid is not None:
            servers = [own.pid]
        return CpuMeter(pids | {"nats-server": servers, "client": [os.getpid()]})

    def pids(self, kind: str) -> list[int]:
        """Of our processes of a kind, those that run."""
        children = [child for child in self._supervisor.children if child.module == f"vagus_{kind}"]
        return [child.pid for child in children if child.pid is not None]

    async def create_session(self, name: str = "", *, model: str = "baseline") -> vagus.Session:
        """A session that may do what benchmarks do; `scripted` as its model calls `noop` again and again."""
        routing = vagus.ModelRouting(
            primary_model=f"scripted:{self._script}" if model == "scripted" else model
        )
        return await self.client.create_session(
            owner="benchmark",
            policy=POLICY,
            session_id=name or f"b-{uuid4().hex}",
            model_routing=routing,
            budget=BUDGET,
        )

    def write_script(self, calls: int) -> None:
        """Let scripted models call `noop` so many times, each time with another input."""
        call = {"call_id": "", "tool_name": "noop", "requested_capabilities": []}
        answers = [
            {
                "directives": [{"type": "tool_call", "call": call | {"input": {"n": n}}}],
                "stop_reason": "tool_call",
            }
            for n in range(calls)
        ]
        self._script.write_bytes(msgspec.json.encode({"*": answers}))

    async def restart_kernel(self, how: signal.Signals = signal.SIGTERM) -> tuple[float, float]:
        """End the kernel and wait until the next one works; it knows no session.

        Returns the seconds until it had ended, and from then until the next one was ready.
        """
        kernel = next(child for child in self._supervisor.children if child.module == "vagus_kernel")
        pid, began = kernel.pid, perf_counter()
        _log.setLevel(logging.ERROR)  # the supervisor's news is none
        kernel.signal(how)
        with anyio.fail_after(RESTART_S):
            while kernel.pid == pid:  # noqa: ASYNC110 -- a process gives no event
                await anyio.sleep(0.01)
            ended = perf_counter()
            while kernel.pid is None:  # noqa: ASYNC110
                await anyio.sleep(0.01)
        kernel.restarts = 0  # this end was asked for: it is no false start
        await self._supervisor.ready()
        _log.setLevel(logging.NOTSET)
        return ended - began, perf_counter() - ended


@asynccontextmanager
async def installation(
    folder: Path,
    durability: Durability,
    *,
    kernels: int = 1,
    runners: int = 1,
    server: str = "",
    settings: Mapping[str, str] | None = None,
) -> AsyncIterator[Installation]:
    """Run everything in `folder` for the length of the block.

    `server` is the URL of one that runs already; `settings` are `VAGUS_*` of all processes.
    """
    environ = {"VAGUS_LOG_LEVEL": "warning", **os.environ, **(settings or {})}
    plan = Plan(
        durability=durability,
        environ=environ,
        kernels=kernels,
        runners=runners,
        server=server,
        store=folder / "store",
        tools=(str(Path(__file__).with_name("tools.py")),),
    )
    async with (
        supervise(plan, tell=_log.warning) as supervisor,
        vagus.connect(supervisor.url, actor="benchmark") as client,
    ):
        yield Installation(client, supervisor, folder)
