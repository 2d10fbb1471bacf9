"""The NATS server goes away in the middle of everything and comes back."""

from pathlib import Path

import anyio

import vagus
from tests.kit.system import system
from tests.kit.waiting import eventually
from vagus.contract.subjects import Subjects
from vagus.runtime.embedded import EmbeddedServer

POLICY = vagus.PolicySet.preset("pro")
OUTAGE_S = 10.0


async def test_ticks_go_on_after_the_server_was_gone_for_ten_seconds(
    subjects: Subjects, tmp_path: Path
) -> None:
    store = tmp_path / "nats"
    async with (
        EmbeddedServer(store, durability="sync") as server,
        system(server.url, subjects, tmp_path) as whole,
    ):
        session = await whole.client.create_session(owner="me", policy=POLICY)
        await session.tick("before")
        ended: list[str] = []

        async def ticks() -> None:
            for number in range(6):
                call = vagus.ToolCall(
                    tool_name="fs.write", input={"path": f"f{number}", "content": str(number)}
                )
                output = await session.tick(f"t{number}", tool=call, timeout_s=60)
                assert [result.status for result in output.tool_results] == ["ok"]
                ended.append(output.run_id)
                await anyio.sleep(0.05)

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(ticks)
            await anyio.sleep(0.1)
            await server.stop()
            await anyio.sleep(OUTAGE_S)
            async with EmbeddedServer(store, durability="sync", port=server.port):
                await eventually(lambda: len(ended) == 6, timeout_s=60)
                events = await session.read_events(limit=1000)
                assert [event.sequence for event in events] == list(range(1, len(events) + 1))
                assert [event.kind.type for event in events].count("Heartbeat") == 7
                assert (await session.verify()).ok
