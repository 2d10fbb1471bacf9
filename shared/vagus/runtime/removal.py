"""Removing messages of a work queue that nobody is to take any more, one by one.

A purge of their subject would be one request. But when one of them was delivered and not acked, nats-server
2.15 moves the ack floor of a consumer that takes other subjects, too, beyond it: whatever else was delivered
and not acked by then is never delivered again, though the queue still holds it.
"""

from typing import Final

import msgspec

from vagus.runtime.bus import ApiError, Bus

_NO_MESSAGE: Final = 10037
_NO_STREAM: Final = 10059
_NOT_DELETED: Final = 10057


class _Held(msgspec.Struct):
    seq: int


async def remove(bus: Bus, stream: str, filter: str, *, start: int = 1) -> int:  # noqa: A002 -- NATS's word
    """Remove the messages of a stream whose subjects match; returns how many there were. Idempotent.

    `start` is the first sequence that may go.

    Raises:
        Unavailable, OutcomeUnknown: Some may be left; repeat it.
    """
    removed = 0
    while (held := await _next(bus, stream, filter, start)) is not None:
        try:
            await bus.api(f"STREAM.MSG.DELETE.{stream}", {"seq": held, "no_erase": True})
            removed += 1
        except ApiError as error:
            if error.err_code != _NOT_DELETED or await _next(bus, stream, filter, held) == held:
                raise  # else somebody was first, which the code does not tell from other reasons
        start = held + 1
    return removed


async def _next(bus: Bus, stream: str, filter: str, start: int) -> int | None:  # noqa: A002
    """The first message from a sequence on, as the stream's leader has it."""
    try:
        answer = await bus.api(f"STREAM.MSG.GET.{stream}", {"seq": start, "next_by_subj": filter})
    except ApiError as error:
        if error.err_code in (_NO_MESSAGE, _NO_STREAM):
            return None
        raise
    return msgspec.convert(answer["message"], _Held).seq
