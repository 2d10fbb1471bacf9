"""Who owns a session: a stalled owner that wakes up, and a queue that takes no more."""

import signal
from pathlib import Path

import anyio
import pytest

import vagus
from tests.kit.audit import RICH, ended_ticks
from tests.kit.processes import process
from tests.kit.system import PARTITIONS, system
from tests.kit.waiting import eventually
from vagus.contract.streams import queues
from vagus.contract.subjects import Subjects
from vagus.runtime.embedded import EmbeddedServer
from vagus.runtime.provision import stream_config

POLICY = vagus.PolicySet(
    allow_capabilities=("*",), gate_capabilities=(), max_tool_runtime_secs=30, max_events_per_turn=256
)
SLOW = vagus.ToolCall(
    tool_name="shell.exec", input={"command": "sh", "args": ["-c", "printf x >> ran.txt; sleep 2"]}
)


async def test_a_stalled_kernel_that_wakes_up_writes_nothing(
    broker: EmbeddedServer, subjects: Subjects, tmp_path: Path
) -> None:
    async with system(broker.url, subjects, tmp_path, allowed_commands="sh", services="gate runner") as whole:
        environ = whole.environ | {"VAGUS_INSTANCE": "stalled"}
        async with (
            process("vagus_kernel", environ, tmp_path / "stalled.log") as stalled,
            anyio.create_task_group() as tasks,
        ):
            session = await whole.client.create_session(owner="me", policy=POLICY, session_id="s")
            outputs: list[vagus.TickOutput] = []

            async def tick() -> None:
                outputs.append(await session.tick("slow", tool=SLOW, timeout_s=60))

            tasks.start_soon(tick)

            async def kinds() -> list[str]:
                return [event.kind.type for event in await session.read_events(limit=1000)]

            async def started() -> bool:
                return "ToolCallStarted" in await kinds()

            await eventually(started, timeout_s=20)
            stalled.send(signal.SIGSTOP)
            await whole.start("kernel", "other")
            await eventually(lambda: outputs, timeout_s=45)
            before = await kinds()
            stalled.send(signal.SIGCONT)
            assert (await session.tick("next")).reason == "completed"
            after = await kinds()
        assert [result.status for result in outputs[0].tool_results] == ["ok"]
        assert after[: len(before)] == before
        assert after.count("ToolCallCompleted") == 1
        assert after.count("Heartbeat") == 2
        assert (await session.verify()).ok
        assert (whole.root / "sessions" / "s" / "ran.txt").read_text() == "x"


async def test_of_two_kernels_with_one_name_the_younger_ends_and_the_elder_goes_on(
    broker: EmbeddedServer, subjects: Subjects, tmp_path: Path
) -> None:
    async with system(broker.url, subjects, tmp_path, services="gate runner", effect_retry=1) as whole:
        environ = whole.environ | {"VAGUS_INSTANCE": "twin"}
        async with (
            process("vagus_kernel", environ, tmp_path / "elder.log") as elder,
            process("vagus_kernel", environ, tmp_path / "younger.log", ready=False) as younger,
        ):

            async def ticks(name: str) -> None:
                """While the younger lives, and once more."""
                session = await whole.client.create_session(
                    owner="me", policy=POLICY, session_id=name, budget=RICH
                )
                sent: set[str] = set()
                alone = False
                while not alone:
                    alone = not younger.runs
                    command_id = f"{name}-{len(sent)}"
                    sent.add(command_id)
                    call = vagus.ToolCall(tool_name="fs.write", input={"path": "a", "content": command_id})
                    output = await session.tick(command_id, tool=call, command_id=command_id, timeout_s=60)
                    assert [result.status for result in output.tool_results] == ["ok"]
                assert await ended_ticks(session) == sent

            async with anyio.create_task_group() as tasks:
                for number in range(4):
                    tasks.start_soon(ticks, f"s{number}")
                assert await younger.ended(timeout_s=60) == 2
            assert elder.runs
    said = younger.log.read_text().splitlines()
    assert "vagus_kernel: another kernel.twin lives: every kernel needs a VAGUS_INSTANCE of its own" in said
    assert not [line for line in said if "Traceback" in line]


async def test_a_full_inbox_refuses_and_heals(
    broker: EmbeddedServer, subjects: Subjects, tmp_path: Path
) -> None:
    async with system(broker.url, subjects, tmp_path) as whole:
        session = await whole.client.create_session(owner="me", policy=POLICY)
        await whole.services["kernel3"].drain()
        inbox = queues(subjects, PARTITIONS, inbox_max_msgs=3)[0]
        await whole.bus.api(f"STREAM.UPDATE.{inbox.name}", stream_config(inbox, 1))
        ended: list[str] = []

        async def tick(number: int) -> None:
            ended.append((await session.tick(f"t{number}", timeout_s=60)).reason)

        async with anyio.create_task_group() as tasks:
            for number in range(3):
                tasks.start_soon(tick, number)

            async def full() -> bool:
                info = await whole.bus.api(f"STREAM.INFO.{inbox.name}")
                state = info["state"]
                return isinstance(state, dict) and state["messages"] == 3

            await eventually(full)
            with pytest.raises(vagus.Busy):
                await session.tick("one too many")
            await whole.start("kernel", "second")
        assert ended == ["completed"] * 3
        assert (await session.tick("healed")).reason == "completed"
