"""Tool runners for tests: requests with real grants, and the reports that come back."""

import base64
import os
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import anyio
import msgspec

from tests.kit.waiting import eventually
from vagus.contract.clock import format_ns
from vagus.contract.grants import Grant, GrantLimits, call_hash
from vagus.contract.messages import Report, ReportType, Role, ToolRequest, decode
from vagus.contract.subjects import Subjects
from vagus.contract.tools import ToolCall, ToolExecutionReport
from vagus.runtime.answers import ApiError
from vagus.runtime.bus import Bus, Message, connect
from vagus.runtime.grants import GrantSigner, generate_key
from vagus_toolrunner.runner import serve
from vagus_toolrunner.settings import RunnerSettings

PARTITIONS = 2
SAMPLE_TOOLS = str(Path(__file__).with_name("sample_tools.py"))


class Desk:
    """A kernel and a gate, as a runner sees them."""

    def __init__(self, bus: Bus, subjects: Subjects, folder: Path) -> None:
        generate_key(folder / "seed")
        self.bus = bus
        self.root = folder / "root"
        self.signer = GrantSigner.from_file(folder / "seed")
        self.subjects = subjects
        self.reports: list[Report] = []
        self.messages: list[Message] = []
        self.shown: list[Any] = []
        self._count = 0

    @asynccontextmanager
    async def listening(self) -> AsyncIterator["Desk"]:
        """Collect the reports and what is shown live."""

        def reported(message: Message) -> None:
            self.messages.append(message)
            self.reports.append(decode(message.data, Report))

        inbox = await self.bus.subscribe_callback(self.subjects.inbox(Role.REPORT, "*"), reported)
        live = await self.bus.subscribe_callback(
            self.subjects.live("*", "*"), lambda message: self.shown.append(msgspec.json.decode(message.data))
        )
        yield self
        await live.unsubscribe()
        await inbox.unsubscribe()

    def settings(self, **changes: Any) -> RunnerSettings:
        """Of a runner that this desk's grants are good for."""
        given: dict[str, Any] = {
            "grant_public_keys": (self.signer.public_key,),
            "root": self.root,
            "root_subject": self.subjects.root,
            "tools": (SAMPLE_TOOLS,),
        }
        return RunnerSettings(**(given | changes))

    def request(self, tool: str, given: Any = None, **changes: Any) -> ToolRequest:
        """A granted request, new unless `tool_run_id` says otherwise."""
        self._count += 1
        now = time.time_ns()
        good = ToolRequest(
            effect_id=f"e{self._count}",
            attempt=1,
            session_id="s",
            branch_id="main",
            workspace_root=str(self.root / "sessions" / "s"),
            call=ToolCall(call_id="c", tool_name=tool, input={} if given is None else given),
            tool_run_id=f"r{self._count}",
            deadline=format_ns(now + 60_000_000_000),
            grant="",
        )
        asked = msgspec.structs.replace(good, **changes)
        return asked if asked.grant else msgspec.structs.replace(asked, grant=self.grant(asked))

    def grant(self, request: ToolRequest, **changes: Any) -> str:
        """What a gate would sign for `request`."""
        now_ms = time.time_ns() // 1_000_000
        good = Grant(
            session_id=request.session_id,
            branch_id=request.branch_id,
            tool_run_id=request.tool_run_id,
            call_hash=call_hash(request.call),
            capabilities=(),
            limits=GrantLimits(timeout_secs=60),
            issued_at=now_ms,
            expires_at=now_ms + 60_000,
        )
        return self.signer.sign(msgspec.structs.replace(good, **changes))

    async def send(
        self, request: ToolRequest, *, pool: str = "default", priority: str = "normal", **headers: str
    ) -> ToolRequest:
        """Put a request on the pool's queue."""
        await self.bus.store(
            self.subjects.tool(pool, priority, request.session_id),
            msgspec.json.encode(request),
            msg_id=f"{request.effect_id}.{request.attempt}",
            headers=headers,
        )
        return request

    def of(self, request: ToolRequest) -> list[Report]:
        """All reports of a run so far."""
        return [report for report in self.reports if report.tool_run_id == request.tool_run_id]

    def endings(self, request: ToolRequest) -> list[Report]:
        """Those that end it."""
        return [report for report in self.of(request) if report.type is not ReportType.STARTED]

    async def ending(self, request: ToolRequest, timeout_s: float = 20) -> Report:
        """The one that ends it."""
        return (await eventually(lambda: self.endings(request), timeout_s=timeout_s))[0]

    async def stored_endings(self, request: ToolRequest) -> list[Report]:
        """Those that end it on the stream, also what came while we had no connection."""
        found: list[Report] = []
        ask = {"seq": 1, "next_by_subj": self.subjects.inbox_partition("*", Role.REPORT)}
        while True:
            try:
                answer: Any = await self.bus.api(f"STREAM.MSG.GET.{self.subjects.named('INBOX')}", ask)
            except ApiError as error:
                if error.code != 404:
                    raise
                return found
            report = decode(base64.b64decode(answer["message"]["data"]), Report)
            if report.tool_run_id == request.tool_run_id and report.type is not ReportType.STARTED:
                found.append(report)
            ask["seq"] = answer["message"]["seq"] + 1

    async def run(self, tool: str, given: Any = None, **changes: Any) -> ToolExecutionReport:
        """Send a request and wait for its report."""
        report = (await self.ending(await self.send(self.request(tool, given, **changes)))).report
        assert report is not None
        return report

    async def harness_error(self, request: ToolRequest) -> str:
        """Send a request and wait for the harness error that it ends with."""
        ending = await self.ending(await self.send(request))
        assert ending.type is ReportType.HARNESS_ERROR
        assert ending.report is None
        return ending.error or ""

    async def queued(self) -> int:
        """Requests that no runner has acknowledged."""
        info: Any = await self.bus.api(f"STREAM.INFO.{self.subjects.named('TOOLS')}")
        return int(info["state"]["messages"])

    def runs(self, request: ToolRequest) -> int:
        """How often a sample tool that counts has been started for a request."""
        file = self.root / "sessions" / request.session_id / f"runs-{request.tool_run_id}"
        return len(file.read_text()) if file.exists() else 0

    def environ(self, url: str, **settings: str) -> dict[str, str]:
        """The environment of a runner process."""
        return {
            **{name: value for name, value in os.environ.items() if not name.startswith(("VAGUS_", "OTEL_"))},
            "VAGUS_SERVER": url,
            "VAGUS_GRANT_PUBLIC_KEYS": self.signer.public_key,
            "VAGUS_PARTITIONS": str(PARTITIONS),
            "VAGUS_ROOT": str(self.root),
            "VAGUS_ROOT_SUBJECT": self.subjects.root,
            "VAGUS_TOOLS": SAMPLE_TOOLS,
            **settings,
        }


class Served:
    """A runner in this process."""

    def __init__(self) -> None:
        self.draining = anyio.Event()
        self.scope = anyio.CancelScope()


@asynccontextmanager
async def served(url: str, settings: RunnerSettings) -> AsyncIterator[Served]:
    """A runner in this process, with a connection of its own; stopped in order at the block's end."""
    runner = Served()
    ready = anyio.Event()

    async def run() -> None:
        with runner.scope:
            async with connect(url, name="runner") as bus:
                await serve(bus, settings, runner.draining, started=ready.set)

    async with anyio.create_task_group() as group:
        group.start_soon(run)
        with anyio.fail_after(30):
            await ready.wait()
        yield runner
        runner.draining.set()


def start_process(environ: dict[str, str]) -> "subprocess.Popen[str]":
    """A runner process; the caller ends it."""
    return subprocess.Popen(
        [sys.executable, "-m", "vagus_toolrunner"], env=environ, stderr=subprocess.PIPE, text=True
    )
