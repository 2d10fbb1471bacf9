"""What three servers cost: commits and ticks on one server and on a cluster of three, in turn.

`python -m benchmarks.replication`; the figures are in docs/reliability.md.
"""

import os
import tempfile
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from time import perf_counter
from typing import Final

import anyio
import nats
from rich.console import Console
from rich.table import Table

import vagus
from benchmarks import commits, ticks
from benchmarks.figures import spread
from benchmarks.installation import Installation
from benchmarks.machine import load
from tests.kit.cluster import clustered
from vagus.contract.subjects import Subjects
from vagus.runtime.bus import connect
from vagus.runtime.embedded import EmbeddedServer
from vagus.runtime.jetstream_log import JetStreamLog
from vagus.runtime.supervisor import Plan, supervise

TURNS: Final = 10
BLOCK: Final = 20
"""Of each kind in one turn: a change of the machine's mood hits both."""
EVENTS: Final = (1, 23)
TICKS: Final = ("text", "tool")


class Side:
    """One of the two, with what was measured on it, in seconds."""

    def __init__(self, writers: dict[int, commits.Writer], sessions: dict[str, vagus.Session]) -> None:
        self._writers = writers
        self._sessions = sessions
        self._ticked = 0
        self.times: dict[str, list[float]] = {}

    async def turn(self) -> None:
        """Everything once, `BLOCK` times."""
        for events, writer in self._writers.items():
            writer.seal(BLOCK, events)
            await writer.commit()
            self.times[f"commit of {events} event{'s' * (events > 1)}"] = writer.commits
        for kind, session in self._sessions.items():
            tick, _, ending = ticks.KINDS[kind]
            times = self.times.setdefault(f"{kind} tick", [])
            for _ in range(BLOCK):
                self._ticked += 1
                began = perf_counter()
                output = await tick(session, self._ticked)
                times.append(perf_counter() - began)
                if output.reason != ending:
                    raise RuntimeError(f"a {kind} tick ended as {output.reason}, not {ending}: {output}")


@asynccontextmanager
async def side(url: str, replicas: int, folder: Path) -> AsyncIterator[Side]:
    """A whole Vagus on a server that runs, warm."""
    environ = {"VAGUS_LOG_LEVEL": "warning", **os.environ, "VAGUS_REPLICAS": str(replicas)}
    tools = (str(Path(ticks.__file__).with_name("tools.py")),)
    plan = Plan(environ=environ, server=url, store=folder, tools=tools)
    raw = await nats.connect(url.split(","))
    try:
        async with (
            supervise(plan, tell=print) as supervisor,
            vagus.connect(url, actor="benchmark") as client,
            connect(url, name="benchmark") as bus,
        ):
            log = JetStreamLog(bus, Subjects(), replicas=replicas)
            writers = {n: commits.Writer(log, raw.jetstream(timeout=20), Subjects(), f"c{n}") for n in EVENTS}
            for events, writer in writers.items():
                await writer.prepare(events)
            installed = Installation(client, supervisor, folder)
            measured = Side(writers, {kind: await installed.create_session() for kind in TICKS})
            await measured.turn()
            for times in measured.times.values():
                times.clear()
            yield measured
    finally:
        await raw.close()


async def measure() -> Table:
    """Both, in turn; p50 and p99 in milliseconds."""
    with tempfile.TemporaryDirectory(prefix="vagus-bench-", ignore_cleanup_errors=True) as name:
        folder = Path(name)
        before = load()
        async with AsyncExitStack() as stack:
            server = await stack.enter_async_context(EmbeddedServer(folder / "nats"))
            cluster = await stack.enter_async_context(clustered(folder / "cluster"))
            one = await stack.enter_async_context(side(server.url, 1, folder / "one"))
            three = await stack.enter_async_context(side(cluster.url, 3, folder / "three"))
            for _ in range(TURNS):
                await one.turn()
                await three.turn()
    table = Table("", "1 server", "3 servers", "ratio of p50", title=f"ms, p50 / p99; load before: {before}")
    for what in one.times:
        first, second = spread(one.times[what]), spread(three.times[what])
        cells = [f"{found.p50_ms:.2f} / {found.p99_ms:.1f}" for found in (first, second)]
        table.add_row(what, *cells, f"{second.p50_ms / first.p50_ms:.2f}")
    return table


if __name__ == "__main__":
    Console().print(anyio.run(measure))
