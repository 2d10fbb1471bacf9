"""Push consumers on a stream, such as a session's log: the way to read it that a client is permitted.

The filter is in the subject of the request, so that a permission can bind a client to session logs. Pulling
is not used: it would need a permission that reaches the work queues too.
"""

from collections.abc import Mapping
from typing import Final

import msgspec

from vagus.contract.errors import OutcomeUnknown, Unavailable
from vagus.contract.subjects import Subjects
from vagus.runtime.bus import ApiError, Bus
from vagus.runtime.jetstream_log.patience import TRY_S
from vagus.runtime.jetstream_log.stored import read_error

_S: Final = 1_000_000_000
_GONE_S: Final = 2
"""The server removes a consumer that nobody has listened to for this long."""


class _Created(msgspec.Struct):
    num_pending: int = 0


async def create_consumer(
    bus: Bus,
    subjects: Subjects,
    stream: str,
    session_id: str,
    branch_id: str | None,
    *,
    inbox: str,
    start: int,
    options: Mapping[str, object],
) -> int:
    """Have commits from stream sequence `start` on delivered to `inbox`; returns how many there are.

    The consumer ends by itself when nobody listens to `inbox` any more.

    Raises:
        SessionNotFound: There is no such log.
        Unavailable: The server did not do it; asking again with another inbox is safe.
    """
    wanted = subjects.log(session_id, branch_id or "*")
    try:
        return await create_push_consumer(bus, stream, wanted, inbox=inbox, start=start, options=options)
    except (ApiError, OutcomeUnknown, Unavailable) as error:
        raise read_error(session_id, error) from error


async def create_push_consumer(
    bus: Bus, stream: str, subject: str, *, inbox: str, start: int, options: Mapping[str, object]
) -> int:
    """As `create_consumer`, of the messages of any stream on `subject`; raises as `Bus.api`."""
    name = inbox.rpartition(".")[2]
    config = {
        "name": name,
        "deliver_subject": inbox,
        "deliver_policy": "by_start_sequence",
        "opt_start_seq": start,
        "filter_subject": subject,
        "inactive_threshold": _GONE_S * _S,
        "max_deliver": 1,
        "mem_storage": True,
        "num_replicas": 1,
        **options,
    }
    answer = await bus.api(
        f"CONSUMER.CREATE.{stream}.{name}.{subject}",
        {"stream_name": stream, "config": config, "action": "create"},
        timeout_s=TRY_S,
    )
    return msgspec.convert(answer, _Created).num_pending


def seconds(value: float) -> int:
    """A duration in the server's unit."""
    return round(value * _S)
