"""Stores what a client has to say, once, however often it takes to be told that it is stored."""

from collections.abc import Mapping
from typing import Final

import anyio
import msgspec

from vagus.contract import limits
from vagus.contract.errors import Malformed, OutcomeUnknown, Refused, Unavailable, VagusError
from vagus.runtime import telemetry
from vagus.runtime.bus import Bus, Stored

PATIENCE_S: Final = 30.0
"""How long a message is offered to a server that is away; a restart takes less."""
PATIENCE_CONNECTED_S: Final = 2.0
"""How long it is offered to a server that is there and has no such stream."""
RETRY_S: Final = 0.25


def encoded(message: msgspec.Struct) -> bytes:
    """A message as JSON.

    Raises:
        Malformed: It holds something that is not JSON.
        Refused: It is longer than `limits.COMMAND_BYTES`.
    """
    try:
        data = msgspec.json.encode(message)
    except (TypeError, ValueError, OverflowError, RecursionError) as error:
        raise Malformed(f"cannot be written as JSON: {error}") from error
    if len(data) > limits.COMMAND_BYTES:
        raise Refused(
            f"{len(data)} bytes are over the limit of {limits.COMMAND_BYTES} for one command: "
            "put long input into a file of the workspace"
        )
    return data


async def store_once(
    bus: Bus, subject: str, data: bytes, *, msg_id: str, headers: Mapping[str, str] | None = None
) -> Stored:
    """Store `data` under `msg_id`; within the duplicate window repeating this stores nothing more.

    What it leads to joins the trace of the calling code, if that has one.

    Raises:
        Unavailable: It is not stored.
        OutcomeUnknown: It may be.
        Busy: The queue is full.
    """
    if telemetry.enabled and telemetry.TRACEPARENT not in (headers or {}):
        headers = dict(headers or {})
        telemetry.inject(headers)
    began = anyio.current_time()
    unsure: OutcomeUnknown | None = None
    while True:
        try:
            return await bus.store(subject, data, msg_id=msg_id, headers=headers)
        except OutcomeUnknown as error:
            unsure = error
        except Unavailable as error:
            waited_s = anyio.current_time() - began
            if bus.connected and waited_s > PATIENCE_CONNECTED_S and await _is_homeless(bus, subject):
                raise unsure or Unavailable(
                    "the server has no streams of Vagus under this root subject: start the processes with "
                    "`vagus up`, or name another server"
                ) from error
            if anyio.current_time() - began > PATIENCE_S:
                raise (unsure or error) from error
        if unsure is not None and anyio.current_time() - began > PATIENCE_S:
            raise unsure
        await anyio.sleep(RETRY_S)


async def _is_homeless(bus: Bus, subject: str) -> bool:
    """Whether no stream takes the subject: one of a cluster may only be without a leader for a while."""
    try:
        return not (await bus.api("STREAM.NAMES", {"subject": subject})).get("streams")
    except VagusError:
        return False
