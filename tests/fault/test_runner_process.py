"""A runner on another machine, as far as others can tell: a process that they know by its messages."""

import os
import signal
import subprocess
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import anyio
import pytest

import vagus
from tests.kit.broker import Broker
from tests.kit.runners import SAMPLE_TOOLS, start_process
from tests.kit.system import System, system
from tests.kit.waiting import eventually
from vagus.contract import limits
from vagus.contract.events import ToolCallCompleted, ToolCallFailed, ToolCallStarted
from vagus.contract.subjects import Subjects
from vagus.runtime.bus import Message

POLICY = vagus.PolicySet(
    allow_capabilities=("*",), gate_capabilities=(), max_tool_runtime_secs=60, max_events_per_turn=256
)
Start = Callable[..., "subprocess.Popen[str]"]


@pytest.fixture
async def whole(broker: Broker, subjects: Subjects, tmp_path: Path) -> AsyncIterator[System]:
    async with system(
        broker.url, subjects, tmp_path, services="gate approver kernel", effect_retry=1
    ) as made:
        yield made


@pytest.fixture
def start(whole: System) -> Iterator[Start]:
    """Start a runner process; all are killed at the end."""
    processes: list[subprocess.Popen[str]] = []

    def started(name: str, **settings: str) -> "subprocess.Popen[str]":
        own = {name: value for name, value in os.environ.items() if not name.startswith(("VAGUS_", "OTEL_"))}
        environ = {**own, **whole.environ, "VAGUS_INSTANCE": name, "VAGUS_TOOLS": SAMPLE_TOOLS, **settings}
        processes.append(start_process(environ))
        return processes[-1]

    yield started
    for process in processes:
        process.kill()
        process.communicate()


class Ticking:
    """A session with one call of a tool that takes its time."""

    def __init__(self, whole: System, session: vagus.Session) -> None:
        self._whole = whole
        self.session = session
        self.folder = whole.root / "sessions" / session.id
        self.outputs: list[vagus.TickOutput] = []

    @classmethod
    async def of(cls, whole: System) -> "Ticking":
        return cls(whole, await whole.client.create_session(owner="me", policy=POLICY))

    async def tick(self, tool: str, seconds: float) -> None:
        await eventually(lambda: self._offered(tool), timeout_s=30)
        call = vagus.ToolCall(tool_name=tool, input={"seconds": seconds})
        self.outputs.append(await self.session.tick("go", tool=call))

    async def _offered(self, name: str) -> bool:
        return any(tool.name == name for tool in await self._whole.client.tools())

    def runs(self) -> int:
        """How often the tool was begun."""
        return sum(len(file.read_text()) for file in self.folder.glob("runs-*"))

    async def said(self, *kinds: type[object]) -> list[object]:
        """The events of some kinds."""
        return [e.kind for e in await self.session.read_events(limit=1000) if isinstance(e.kind, kinds)]


async def test_a_cancel_ends_a_call_of_another_process(whole: System, start: Start) -> None:
    start("far")
    ticking = await Ticking.of(whole)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(ticking.tick, "once", 60)
        await eventually(ticking.runs, timeout_s=30)
        await ticking.session.cancel()
    (output,) = ticking.outputs
    assert (output.reason, output.tool_results[0].status) == ("cancelled", "cancelled")
    assert ticking.runs() == 1


async def test_a_runner_that_vanishes_leaves_one_unknown_outcome_on_the_log(
    whole: System, start: Start
) -> None:
    first = start("first")
    ticking = await Ticking.of(whole)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(ticking.tick, "once", 60)
        await eventually(ticking.runs, timeout_s=30)
        first.kill()
        start("second")
    (output,) = ticking.outputs
    assert output.tool_results[0].status == "failed"
    ended = await ticking.said(ToolCallCompleted, ToolCallFailed)
    assert len(ended) == 1
    assert isinstance(ended[0], ToolCallFailed)
    assert ended[0].error == "outcome unknown: the runner runner.default.first vanished after the start"
    assert ticking.runs() == 1


@pytest.mark.parametrize(("tool", "runs"), [("once", 1), ("put", 2)])
async def test_what_a_terminated_runner_cannot_finish_is_told_or_handed_over(
    whole: System, start: Start, tool: str, runs: int
) -> None:
    """An idempotent call goes to another runner; the other is reported before the process ends."""
    first = start("first", VAGUS_STOP_GRACE_S="0.5")
    ticking = await Ticking.of(whole)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(ticking.tick, tool, 3)
        await eventually(ticking.runs, timeout_s=30)
        start("second")
        first.send_signal(signal.SIGTERM)
    (output,) = ticking.outputs
    assert ticking.runs() == runs
    assert len(await ticking.said(ToolCallCompleted, ToolCallFailed)) == 1
    if tool == "put":
        assert output.tool_results[0].status == "ok"
    else:
        assert output.tool_results[0].error == "outcome unknown: the runner was stopped while the tool ran"


async def test_a_terminated_runner_finishes_what_it_can(whole: System, start: Start) -> None:
    first = start("first", VAGUS_STOP_GRACE_S="30")
    ticking = await Ticking.of(whole)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(ticking.tick, "once", 2)
        await eventually(ticking.runs, timeout_s=30)
        first.send_signal(signal.SIGTERM)
    assert ticking.outputs[0].tool_results[0].status == "ok"
    assert await anyio.to_thread.run_sync(lambda: first.wait(timeout=30)) == 0


async def test_heartbeats_keep_a_long_call_with_its_runner(
    broker: Broker, subjects: Subjects, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Three times longer than the kernel waits for a sign: it is neither asked for again nor given up."""
    monkeypatch.setattr(limits, "STARTED_AFTER_S", 0.1)
    monkeypatch.setattr(limits, "HEARTBEAT_S", 0.2)
    requests: list[Message] = []
    given = {"services": "gate approver kernel", "effect_retry": "2.5"}
    async with system(broker.url, subjects, tmp_path, **given) as whole:
        watched = await whole.bus.subscribe_callback(whole.subjects.tool(), requests.append)
        await whole.start("runner", tools=SAMPLE_TOOLS)
        ticking = await Ticking.of(whole)
        await ticking.tick("look", 7.5)
        await watched.unsubscribe()
        assert ticking.outputs[0].tool_results[0].status == "ok"
        assert len(await ticking.said(ToolCallStarted)) == 1
        assert ticking.runs() == 1
        assert len(requests) == 1
