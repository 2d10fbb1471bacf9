"""The least that a durable step in another process costs on this server now: a measure for the rest.

A worker process pulls a request from a stream, publishes its answer to it and acks; nothing is decided,
chained, granted or approved. Absolute figures depend on the machine and its mood, ratios to this much less.
"""

import asyncio
import subprocess
import sys
from contextlib import suppress
from time import perf_counter
from typing import Final
from uuid import uuid4

import anyio
import nats
import nats.errors
from nats.aio.msg import Msg
from nats.js import JetStreamContext
from nats.js.api import StreamConfig

from benchmarks.figures import StepFigures, spread
from benchmarks.machine import load

STREAM: Final = "YARDSTICK"
SESSIONS: Final = (1, 16)
EACH: Final = {1: 300, 16: 40}
EACH_QUICK: Final = {1: 50, 16: 10}
_WAIT_S: Final = 10.0


async def measure(url: str, *, quick: bool) -> list[StepFigures]:
    """By one session and by many."""
    client = await nats.connect(url)
    js = client.jetstream()
    await js.add_stream(StreamConfig(name=STREAM, subjects=[f"{STREAM}.>"]))
    worker = subprocess.Popen(  # noqa: ASYNC220 -- it starts in a moment
        [sys.executable, "-m", "benchmarks.yardstick", url], stdout=subprocess.PIPE
    )
    try:
        if worker.stdout is None or not await anyio.to_thread.run_sync(worker.stdout.readline):
            raise RuntimeError("the yardstick's worker did not start")
        await _run(js, 1, 20)
        each = EACH_QUICK if quick else EACH
        return [await _run(js, count, each[count]) for count in SESSIONS]
    finally:
        worker.kill()
        worker.wait()
        await js.delete_stream(STREAM)
        await client.close()


async def _run(js: JetStreamContext, sessions: int, each: int) -> StepFigures:
    before = load()
    times: list[float] = []

    async def session() -> None:
        name = uuid4().hex
        answers = await js.subscribe(f"{STREAM}.{name}.done", ordered_consumer=True, stream=STREAM)
        for _ in range(each):
            began = perf_counter()
            await js.publish(f"{STREAM}.{name}.do", b"{}")
            await answers.next_msg(timeout=_WAIT_S)
            times.append(perf_counter() - began)
        await answers.unsubscribe()

    began = perf_counter()
    async with anyio.create_task_group() as tasks:
        for _ in range(sessions):
            tasks.start_soon(session)
    took_s = perf_counter() - began
    return StepFigures(
        sessions=sessions,
        load_before=before,
        latency=spread(times),
        steps_per_s=round(len(times) / took_s, 1),
    )


async def _work(url: str) -> None:
    client = await nats.connect(url)
    js = client.jetstream()
    requests = await js.pull_subscribe(f"{STREAM}.*.do", durable="worker", stream=STREAM)
    sys.stdout.write("ready\n")
    sys.stdout.flush()

    async def handle(message: Msg) -> None:
        await js.publish(message.subject.replace(".do", ".done"), b"{}")
        await message.ack()

    async with anyio.create_task_group() as tasks:
        while True:
            with suppress(nats.errors.TimeoutError):
                for message in await requests.fetch(16, timeout=5):
                    tasks.start_soon(handle, message)


if __name__ == "__main__":
    asyncio.run(_work(sys.argv[1]))
