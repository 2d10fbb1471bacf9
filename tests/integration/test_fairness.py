"""Whose call is next, when many wait for few slots."""

from collections.abc import AsyncIterator
from pathlib import Path

import anyio
import pytest
from anyio.abc import TaskGroup

import vagus
from tests.kit.broker import Broker
from tests.kit.services import stored
from tests.kit.system import System, system
from tests.kit.waiting import eventually
from vagus.contract import limits
from vagus.contract.streams import tool_consumers
from vagus.contract.subjects import Subjects
from vagus.runtime import tiers
from vagus.runtime.bus import Message

TOOLS = str(Path(__file__).parents[1] / "kit" / "queue_tools.py")
POLICY = vagus.PolicySet(
    allow_capabilities=("*",), gate_capabilities=(), max_tool_runtime_secs=60, max_events_per_turn=256
)
BRANCHES = 30


class Queue:
    """One slot, held by the first call until `open`."""

    def __init__(self, whole: System) -> None:
        self.whole = whole
        self.subjects: list[str] = []

    async def session(self, name: str) -> vagus.Session:
        return await self.whole.client.create_session(owner="me", policy=POLICY, session_id=name)

    async def tick(self, name: str, branch: str = "main", priority: str = "normal") -> None:
        """Run a call that is named like its session and branch."""
        session = await self.whole.client.session(name)
        call = vagus.ToolCall(tool_name="turnstile", input={"name": f"{name}/{branch}"})
        await session.tick("go", tool=call, branch=branch, priority=priority)

    async def queued(self, count: int) -> None:
        """Wait until so many calls wait for a slot or have it."""

        async def there() -> bool:
            return await stored(self.whole.bus, self.whole.subjects.named("TOOLS")) == count

        await eventually(there)

    async def full(self) -> None:
        """Wait until the first call has the slot, and the runner asks for no more."""
        consumers = tool_consumers(self.whole.subjects, "default")

        async def asks() -> int:
            addresses = [f"CONSUMER.INFO.{consumer.stream}.{consumer.name}" for consumer in consumers]
            return sum([int((await self.whole.bus.api(address))["num_waiting"]) for address in addresses])  # type: ignore[call-overload]

        async def quiet() -> bool:
            return bool(self.order()) and await asks() == 0

        await eventually(quiet)
        await anyio.sleep(tiers.EMPTY_S)  # for so long it believes that nothing waits

    def open(self) -> None:
        (self.whole.root / "sessions" / "open").touch()

    def order(self) -> list[str]:
        """The calls that were begun."""
        file = self.whole.root / "sessions" / "order"
        return file.read_text().split() if file.exists() else []


@pytest.fixture
async def queue(broker: Broker, subjects: Subjects, tmp_path: Path) -> AsyncIterator[Queue]:
    async with system(broker.url, subjects, tmp_path, tools=TOOLS, slots=1) as whole:
        made = Queue(whole)

        def seen(message: Message) -> None:
            made.subjects.append(message.subject)

        watched = await whole.bus.subscribe_callback(subjects.tool(), seen)
        yield made
        await watched.unsubscribe()


async def flood(queue: Queue, tasks: TaskGroup) -> None:
    """One session with a call on each of many branches, of which the first has the slot."""
    session = await queue.session("busy")
    for number in range(BRANCHES):
        await session.create_branch(f"b{number}")
        tasks.start_soon(queue.tick, "busy", f"b{number}")
    await queue.full()
    await queue.queued(limits.TOOL_CALLS_INFLIGHT)


async def test_one_call_of_a_session_does_not_wait_behind_many_of_another(queue: Queue) -> None:
    async with anyio.create_task_group() as tasks:
        await flood(queue, tasks)
        await queue.session("other")
        tasks.start_soon(queue.tick, "other")
        await queue.queued(limits.TOOL_CALLS_INFLIGHT + 1)
        queue.open()
    order = queue.order()
    assert order.index("other/main") == 1
    assert len(order) == len(set(order)) == BRANCHES + 1


async def test_a_tick_of_high_priority_is_next_and_one_of_low_comes_last(queue: Queue) -> None:
    names = {"a": "normal", "b": "low", "c": "normal", "d": "high"}
    async with anyio.create_task_group() as tasks:
        for count, (name, priority) in enumerate(names.items(), start=1):
            await queue.session(name)
            tasks.start_soon(queue.tick, name, "main", priority)
            await queue.full()
            await queue.queued(count)
        queue.open()
    assert queue.order() == ["a/main", "d/main", "c/main", "b/main"]
    tokens = {Subjects.last_token(subject): Subjects.last_token(subject, 2) for subject in queue.subjects}
    assert tokens == names


async def test_a_priority_that_there_is_not_is_refused(queue: Queue) -> None:
    await queue.session("s")
    with pytest.raises(vagus.Malformed, match="high, normal, low"):
        await queue.tick("s", priority="urgent")
