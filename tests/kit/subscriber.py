"""A subscriber as a process of its own, which writes down what it does where all others do.

A line is `<name> begins|ends <session> <sequence>`.
"""

import logging
import os

import anyio

from vagus.contract.subjects import Subjects
from vagus.contract.subscriptions import Filter
from vagus.runtime.bus import connect
from vagus.runtime.subscription import subscribe

HANDLING_S = 0.002


async def main() -> None:
    """Handle what comes, until killed."""
    logging.basicConfig(level=logging.INFO)
    name, ledger = os.environ["SUBSCRIBER"], os.open(os.environ["LEDGER"], os.O_WRONLY | os.O_APPEND)
    subjects = Subjects(root=os.environ["VAGUS_ROOT_SUBJECT"])
    async with (
        connect(os.environ["VAGUS_SERVER"], name=name) as bus,
        subscribe(bus, subjects, Filter(), durable="shared") as subscription,
    ):
        print(f"{name} is ready", flush=True)
        async for delivery in subscription:
            what = f"{delivery.session_id} {delivery.sequence}\n"
            os.write(ledger, f"{name} begins {what}".encode())
            await anyio.sleep(HANDLING_S)
            os.write(ledger, f"{name} ends {what}".encode())
            await delivery.ack()


if __name__ == "__main__":
    anyio.run(main)
