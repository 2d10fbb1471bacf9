"""The tools that benchmarks call: they do nothing, so that what is measured is the way there and back."""

import anyio

import vagus


@vagus.tool(read_only=True)
async def noop(n: int) -> int:
    """Return what it is given."""
    return n


@vagus.tool(read_only=True)
async def nap(n: int, ms: int) -> int:
    """Return what it is given, after a while."""
    await anyio.sleep(ms / 1000)
    return n
