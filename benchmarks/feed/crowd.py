"""Many subscribers in a process of its own, each waiting for the ends of all runs."""

import os

import anyio
import anyio.abc

import vagus


async def main() -> None:
    """Read until killed."""
    async with (
        vagus.connect(os.environ["VAGUS_SERVER"], actor="benchmark") as client,
        anyio.create_task_group() as tasks,
    ):
        for _ in range(int(os.environ["SUBSCRIBERS"])):
            await tasks.start(_read, client)
        print("the crowd is ready", flush=True)


async def _read(client: vagus.Client, *, task_status: anyio.abc.TaskStatus[None]) -> None:
    wanted = vagus.Filter(kinds=("RunFinished",))
    async with client.subscribe(wanted, start="new") as subscription:
        task_status.started()
        async for delivery in subscription:
            await delivery.ack()


if __name__ == "__main__":
    anyio.run(main)
