"""What a subscriber could not handle goes to the dead letters."""

import logging
from typing import Final

import anyio

from vagus.contract import limits
from vagus.contract.errors import VagusError
from vagus.contract.subjects import Subjects
from vagus.runtime.bus import Bus
from vagus.runtime.subscription.bench import Item

log = logging.getLogger("vagus.subscription")

KIND: Final = "subscription"
"""What dead letters name as the kind of process."""
REASON_CHARS: Final = 1000
_HEADERS: Final = 32 * limits.KIB
_RETRY_S: Final = 1.0


async def bury(bus: Bus, subjects: Subjects, name: str, item: Item, reason: str) -> None:
    """Make an event a dead letter; returns when it is stored, however long that takes."""
    subject = subjects.event(item.session, item.branch, item.kind)
    room = bus.max_payload - _HEADERS
    origin = f"{subjects.named('EVENTS')}.{item.position}"
    headers = {
        "Vagus-Reason": f"subscription {name}: {' '.join(reason.split())}"[:REASON_CHARS],
        "Vagus-Subject": subject,
        "Vagus-Deliveries": str(item.failures),
        "Vagus-Sequence": origin,
    }
    if len(item.line) > room:
        headers["Vagus-Size"] = str(len(item.line))
    while True:
        try:
            await bus.store(
                subjects.dead(f"{KIND}.{item.session}"),
                item.line[:room],
                msg_id=f"{name}.{origin}",
                headers=headers,
            )
        except VagusError as error:
            log.warning("no dead letter for %s yet: %s", subject, error)
            await anyio.sleep(_RETRY_S)
        else:
            log.warning("dead letter: %s (%s): %s", subject, origin, headers["Vagus-Reason"])
            return
