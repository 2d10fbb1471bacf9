"""Dead letters as they are written: what could not be handled, where it came from, and why."""

from collections.abc import Mapping
from typing import Final

from vagus.contract import limits
from vagus.contract.subjects import Subjects
from vagus.runtime import telemetry
from vagus.runtime.bus import Bus

REASON_CHARS: Final = 1000
_HEADERS: Final = 32 * limits.KIB
"""What all headers of a dead letter take at most."""


async def store_letter(
    bus: Bus,
    subjects: Subjects,
    where: str,
    data: bytes,
    *,
    subject: str,
    origin: str,
    msg_id: str,
    deliveries: int,
    reason: str,
    headers: Mapping[str, str] | None = None,
) -> str:
    """Store a dead letter; within the duplicate window a `msg_id` is stored once.

    Args:
        bus: The connection.
        subjects: The names.
        where: Subject tokens under the dead letters: the process kind and, if known, the session.
        data: The message; cut, with `Vagus-Size` in its place, when there is no room for all of it.
        subject: On which it came.
        origin: Its stream and sequence there, with a dot between.
        msg_id: Of the letter.
        deliveries: How often it was tried.
        reason: One line for a person.
        headers: Of the message, as far as they are kept.

    Returns:
        What it is, where it came from and why, for a log.

    Raises:
        VagusError: As `Bus.store`.
    """
    room = bus.max_payload - _HEADERS
    sent = dict(headers) if headers else {}
    sent["Vagus-Reason"] = " ".join(reason.split())[:REASON_CHARS]
    sent["Vagus-Subject"] = subject
    sent["Vagus-Deliveries"] = str(deliveries)
    sent["Vagus-Sequence"] = origin
    if len(data) > room:
        sent["Vagus-Size"] = str(len(data))
    await bus.store(subjects.dead(where), data[:room], msg_id=msg_id, headers=sent)
    telemetry.record_dead_letter(where.partition(".")[0])
    return f"{subject} ({origin}): {sent['Vagus-Reason']}"
