"""Tools that the runner's tests offer."""

import threading
import time

import anyio

import vagus


def _count(context: vagus.ToolContext) -> None:
    """Leave a mark of this run."""
    with (context.workspace / f"runs-{context.tool_run_id}").open("a") as file:
        file.write("x")


@vagus.tool
async def noop() -> str:
    return "done"


@vagus.tool
async def echo(context: vagus.ToolContext, value: object = None) -> object:
    _count(context)
    return value


@vagus.tool(timeout_secs=60)
async def once(context: vagus.ToolContext, seconds: float) -> str:
    _count(context)
    await anyio.sleep(seconds)
    return "ran"


@vagus.tool(timeout_secs=60, read_only=True)
async def look(context: vagus.ToolContext, seconds: float) -> str:
    _count(context)
    await anyio.sleep(seconds)
    return "looked"


@vagus.tool(timeout_secs=60, idempotent=True)
async def put(context: vagus.ToolContext, seconds: float) -> str:
    _count(context)
    await anyio.sleep(seconds)
    return "put"


@vagus.tool(timeout_secs=60)
def block(context: vagus.ToolContext, seconds: float) -> bool:
    until = time.monotonic() + seconds
    while not context.cancelled and time.monotonic() < until:
        time.sleep(0.005)
    return context.cancelled


@vagus.tool(timeout_secs=1)
def deaf() -> None:
    threading.Event().wait(60)


@vagus.tool
async def big(size: int) -> str:
    return "x" * size


@vagus.tool
async def fail(error: str, exit_status: int = 1) -> None:
    raise vagus.ToolFailure(error, exit_status)


@vagus.tool
def tell(context: vagus.ToolContext, pieces: int, size: int = 0) -> None:
    for number in range(pieces):
        context.emit({"piece": number, "padding": "x" * size})


@vagus.tool
def shout(context: vagus.ToolContext, pieces: int) -> None:
    for _ in range(pieces):
        context.emit("x" * 1000)


@vagus.tool(pool="gpu")
async def render() -> str:
    return "picture"


@vagus.tool(rate="2/h")
async def paced(context: vagus.ToolContext) -> None:
    _count(context)


@vagus.tool(idempotent=True, retries=3)
async def flaky(context: vagus.ToolContext, failures: int) -> str:
    _count(context)
    runs = len((context.workspace / f"runs-{context.tool_run_id}").read_text())
    if runs <= failures:
        raise ConnectionError(f"attempt {runs}")
    return f"attempt {runs}"
