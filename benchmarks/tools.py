"""The tool that benchmarks call: it does nothing, so that what is measured is the way to it and back."""

import vagus


@vagus.tool(read_only=True)
async def noop(n: int) -> int:
    """Return what it is given."""
    return n
