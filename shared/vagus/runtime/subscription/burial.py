"""What a subscriber could not handle goes to the dead letters."""

import logging
from typing import Final

import anyio

from vagus.contract.errors import VagusError
from vagus.contract.subjects import Subjects
from vagus.runtime.bus import Bus
from vagus.runtime.letters import store_letter
from vagus.runtime.subscription.bench import Item

log = logging.getLogger("vagus.subscription")

KIND: Final = "subscription"
"""What dead letters name as the kind of process."""
_RETRY_S: Final = 1.0


async def bury(bus: Bus, subjects: Subjects, name: str, item: Item, reason: str) -> None:
    """Make an event a dead letter; returns when it is stored, however long that takes."""
    subject = subjects.event(item.session, item.branch, item.kind)
    origin = f"{subjects.named('EVENTS')}.{item.position}"
    msg_id = f"{name}.{origin}"
    if item.revived:  # the letter that it was has the same id, and may have come a moment ago
        msg_id += f".{subjects.last_token(item.revived)}"
    while True:
        try:
            letter = await store_letter(
                bus,
                subjects,
                f"{KIND}.{item.session}",
                item.line,
                subject=subject,
                origin=origin,
                msg_id=msg_id,
                deliveries=item.failures,
                reason=f"subscription {name}: {reason}",
            )
        except VagusError as error:
            log.warning("no dead letter for %s yet: %s", subject, error)
            await anyio.sleep(_RETRY_S)
        else:
            log.warning("dead letter: %s", letter)
            return
