"""What a single call waits for while another session floods the queue: `python -m benchmarks.fairness`.

One session keeps 100 branches busy with calls that take 100 ms, on two slots; another one makes a call at a
time. The figures are in docs/reliability.md.
"""

import os
import tempfile
from itertools import count
from pathlib import Path
from time import perf_counter
from typing import Final

import anyio

import vagus
from benchmarks.figures import spread

BRANCHES: Final = 100
CALLS: Final = 20
CALL_S: Final = 0.1
SLOTS: Final = 2
POLICY: Final = vagus.PolicySet(
    allow_capabilities=("*",), gate_capabilities=(), max_tool_runtime_secs=60, max_events_per_turn=256
)
TOOL: Final = f"""
import anyio, vagus

@vagus.tool(read_only=True)
async def nap(number: int) -> None:
    await anyio.sleep({CALL_S})
"""


def nap(number: int) -> vagus.ToolCall:
    """A call unlike the others: one that is repeated is taken for a loop."""
    return vagus.ToolCall(tool_name="nap", input={"number": number})


async def flood(session: vagus.Session, branch: str) -> None:
    """One call after the other on a branch, until cancelled."""
    for number in count():
        await session.extend_budget(tokens=10_000, time_ms=10_000, tool_calls=1, branch=branch)
        await session.tick(f"flood {number}", tool=nap(number), branch=branch)


async def single(session: vagus.Session) -> list[float]:
    """How long each of some calls takes, from the tick to its output; seconds."""
    times: list[float] = []
    for number in range(CALLS):
        began = perf_counter()
        output = await session.tick(f"one {number}", tool=nap(number))
        assert [result.status for result in output.tool_results] == ["ok"]
        times.append(perf_counter() - began)
        await session.extend_budget(tokens=10_000, time_ms=10_000, tool_calls=1)
    return times


async def measure(folder: Path) -> None:
    """Print the times of single calls without and with the flood."""
    tools = folder / "nap_tools.py"
    tools.write_text(TOOL)
    os.environ["VAGUS_SLOTS"] = str(SLOTS)
    async with vagus.embedded(folder / "store", tools=[str(tools)]) as client:
        one = await client.create_session(owner="bench", policy=POLICY)
        many = await client.create_session(owner="bench", policy=POLICY)
        print("alone      ", spread(await single(one)))
        async with anyio.create_task_group() as tasks:
            for number in range(BRANCHES):
                await many.create_branch(f"b{number}")
                tasks.start_soon(flood, many, f"b{number}")
            await anyio.sleep(5)
            print("with flood ", spread(await single(one)))
            tasks.cancel_scope.cancel()


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as name:
        anyio.run(measure, Path(name))
