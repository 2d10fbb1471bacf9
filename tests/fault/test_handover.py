"""Sessions change hands: kernels join, are drained and die, and everything is restarted under load."""

import signal
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import anyio
import msgspec
import pytest
from anyio.abc import TaskGroup

import vagus
from tests.kit import ledger_tools
from tests.kit.audit import ended_ticks
from tests.kit.processes import RealProcess, process
from tests.kit.system import PARTITIONS, System, system
from tests.kit.waiting import eventually
from vagus.contract.messages import Role
from vagus.contract.subjects import Subjects
from vagus.runtime.bus import Message
from vagus.runtime.embedded import EmbeddedServer
from vagus.runtime.members import owned

POLICY = vagus.PolicySet(
    allow_capabilities=("*",), gate_capabilities=(), max_tool_runtime_secs=120, max_events_per_turn=256
)
SESSIONS = 8
CLIENTS = 8
PACE_S = 0.2
"""Between two ticks of a client: processes that start need the machine as well."""
TICKS = 4
"""Of one session in a client's row of them."""
LONG_S = 45.0
"""By then everything has been taken over, also on a machine that is busy with other things."""


@dataclass
class Course:
    """Sessions whose tools run until `go`, and what happened meanwhile."""

    whole: System
    folder: Path
    sessions: dict[str, vagus.Session] = field(default_factory=dict)
    outputs: dict[str, vagus.TickOutput] = field(default_factory=dict)
    asked: Counter[int] = field(default_factory=Counter)
    """Requests to gates and runners, by their attempt."""

    def kernel(self, name: str) -> Any:
        environ = self.whole.environ | {"VAGUS_INSTANCE": name}
        return process("vagus_kernel", environ, self.folder / f"{name}.log")

    def heard(self, message: Message) -> None:
        self.asked[msgspec.json.decode(message.data)["attempt"]] += 1

    async def begin(self, tasks: TaskGroup) -> None:
        """Let a tool run in every session."""
        for number in range(SESSIONS):
            name = f"s{number}"
            self.sessions[name] = await self.whole.client.create_session(
                owner="me", policy=POLICY, session_id=name
            )
            tasks.start_soon(self.tick, name)
        await eventually(lambda: len(self.ledger) == SESSIONS, timeout_s=LONG_S)
        await eventually(self.all_started, timeout_s=LONG_S)

    async def tick(self, name: str) -> None:
        call = vagus.ToolCall(tool_name="mark", input={"until": str(self.folder / "go")})
        self.outputs[name] = await self.sessions[name].tick("wait", tool=call, timeout_s=120)

    async def all_started(self) -> bool:
        return all([await self.count(name, "ToolCallStarted") for name in self.sessions])

    async def count(self, name: str, kind: str) -> int:
        events = await self.sessions[name].read_events(limit=1000)
        return [event.kind.type for event in events].count(kind)

    @property
    def ledger(self) -> list[str]:
        file = self.folder / "ledger"
        return file.read_text().splitlines() if file.exists() else []

    async def share(self, name: str, *live: str) -> set[str]:
        """The sessions that are a kernel's when these live."""
        state: Any = await self.whole.bus.api(
            f"STREAM.INFO.{self.whole.subjects.named('INBOX')}", {"subjects_filter": ">"}
        )
        mine = owned(PARTITIONS, name, live)
        held = [subject.split(".") for subject in state["state"]["subjects"]]
        return {
            session
            for _, _, partition, role, session in held
            if role == Role.COMMAND and int(partition) in mine
        }

    async def taken_over(self, names: set[str]) -> float:
        """Wait until the next owner has said in all of these that it goes on; the seconds it took."""

        async def resumed() -> bool:
            return all([await self.count(name, "SessionResumed") for name in names])

        began = anyio.current_time()
        await eventually(resumed, timeout_s=LONG_S)
        return anyio.current_time() - began

    async def finish(self) -> None:
        """Let the tools end; every tick has ended once, and each tool ran once."""
        (self.folder / "go").touch()
        await eventually(lambda: len(self.outputs) == SESSIONS, timeout_s=LONG_S)
        for name, session in self.sessions.items():
            assert [result.status for result in self.outputs[name].tool_results] == ["ok"]
            assert len(await ended_ticks(session)) == 1
        assert len(self.ledger) == len(set(self.ledger)) == SESSIONS


@asynccontextmanager
async def course(url: str, subjects: Subjects, folder: Path) -> AsyncIterator[Course]:
    async with (
        system(
            url, subjects, folder, services="gate runner", slots=SESSIONS, tools=ledger_tools.__file__
        ) as whole,
        AsyncExitStack() as stack,
    ):
        made = Course(whole, folder)
        for subject in (subjects.gate(), subjects.tool()):
            subscription = await whole.bus.subscribe_callback(subject, made.heard)
            stack.push_async_callback(subscription.unsubscribe)
        yield made


@pytest.fixture(autouse=True)
def ledger(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(ledger_tools.LEDGER, str(tmp_path / "ledger"))


async def test_a_kernel_that_joins_takes_its_share_and_one_that_is_drained_leaves_it(
    broker: EmbeddedServer, subjects: Subjects, tmp_path: Path
) -> None:
    """Nobody is asked anything twice, by any of four owners."""
    async with course(broker.url, subjects, tmp_path) as went, anyio.create_task_group() as tasks:
        async with went.kernel("ada") as first:
            await went.begin(tasks)
            share = await went.share("kernel.bob", "kernel.ada", "kernel.bob")
            assert 0 < len(share) < SESSIONS
            async with went.kernel("bob"):
                seconds = await went.taken_over(share)
                print(f"a kernel that joins has its share {seconds:.2f} s after it is ready")
                left = set(went.sessions) - share
                assert [await went.count(name, "SessionResumed") for name in left] == [0] * len(left)
                began = anyio.current_time()
                await went.whole.client.drain("kernel.ada")
                assert await first.ended() == 0
                await went.taken_over(left)
                print(f"a drained kernel's sessions go on after {anyio.current_time() - began:.2f} s")
                await went.finish()
        assert set(went.asked) == {1}


async def test_the_sessions_of_a_kernel_that_is_killed_go_on(
    broker: EmbeddedServer, subjects: Subjects, tmp_path: Path
) -> None:
    async with (
        course(broker.url, subjects, tmp_path) as went,
        anyio.create_task_group() as tasks,
        went.kernel("ada") as first,
        went.kernel("bob"),
    ):
        await went.begin(tasks)
        share = await went.share("kernel.ada", "kernel.ada", "kernel.bob")
        assert 0 < len(share) < SESSIONS
        first.send(signal.SIGKILL)
        print(f"a killed kernel's sessions go on after {await went.taken_over(share):.2f} s")
        await went.finish()


async def test_everything_is_restarted_one_after_the_other_without_a_failed_tick(
    broker: EmbeddedServer, subjects: Subjects, tmp_path: Path
) -> None:
    kinds = ("kernel", "kernel", "policygate", "policygate", "toolrunner", "toolrunner", "approver")
    async with (
        system(broker.url, subjects, tmp_path, services="", tools=ledger_tools.__file__) as whole,
        AsyncExitStack() as stack,
    ):

        async def start(kind: str, number: int, generation: int) -> RealProcess:
            name = f"p{number}-{generation}"
            environ = whole.environ | {"VAGUS_INSTANCE": name}
            return await stack.enter_async_context(
                process(f"vagus_{kind}", environ, tmp_path / f"{name}.log")
            )

        running = [await start(kind, number, 1) for number, kind in enumerate(kinds)]
        done = anyio.Event()
        sent: Counter[int] = Counter()

        async def client(number: int) -> None:
            """Ticks, in one session after the other: each falls asleep when it has made progress."""
            while not done.is_set():
                name = f"s{number}-{sent[number]}"
                session = await whole.client.create_session(owner="me", policy=POLICY, session_id=name)
                commands = {f"{name}-{tick}" for tick in range(TICKS)}
                for command_id in sorted(commands):
                    call = vagus.ToolCall(tool_name="mark", input={"label": command_id})
                    output = await session.tick("go", tool=call, command_id=command_id, timeout_s=60)
                    assert [result.status for result in output.tool_results] == ["ok"], output
                    sent[number] += 1
                    await anyio.sleep(PACE_S)
                assert await ended_ticks(session) == commands

        async with anyio.create_task_group() as clients:
            for number in range(CLIENTS):
                clients.start_soon(client, number)
            for number, kind in enumerate(kinds):
                before = Counter(sent)
                await eventually(partial(gone_on, sent, before), timeout_s=LONG_S)
                await whole.client.drain(f"{kind}.p{number}-1", timeout_s=LONG_S)
                assert await running[number].ended() == 0
                await start(kind, number, 2)
            before = Counter(sent)
            await eventually(partial(gone_on, sent, before), timeout_s=LONG_S)
            done.set()
        ledger = (tmp_path / "ledger").read_text().splitlines()
        assert len(ledger) == len(set(ledger)) == sent.total()
        status = await whole.client.status()
        assert {queue.name: queue.messages for queue in status.queues if queue.name == "dead"} == {"dead": 0}
        print(f"{sent.total()} ticks, none failed, while {len(kinds)} processes were restarted")


def gone_on(now: Counter[int], before: Counter[int]) -> bool:
    """Whether every client has had another tick since."""
    return all(now[number] > before[number] for number in range(CLIENTS))
