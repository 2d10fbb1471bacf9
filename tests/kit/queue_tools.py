"""Tools that tell in which order calls were run."""

import anyio

import vagus


@vagus.tool(timeout_secs=60)
async def turnstile(context: vagus.ToolContext, name: str) -> None:
    """Note the name, and wait until the test opens."""
    shared = context.workspace.parent
    with (shared / "order").open("a") as order:
        order.write(f"{name}\n")
    while not (shared / "open").exists():  # noqa: ASYNC110 -- by whoever tests, from another process too
        await anyio.sleep(0.01)
