"""Reading stored commits page by page, in two ways: fast, for kernels, or as a client is permitted."""

from functools import partial
from typing import Final, Protocol

import anyio
import msgspec

from vagus.contract import limits
from vagus.contract.errors import OutcomeUnknown, Unavailable
from vagus.contract.subjects import Subjects
from vagus.runtime.bus import Bus, Message
from vagus.runtime.eventlog import Commit
from vagus.runtime.jetstream_log.consumer import create_consumer, seconds
from vagus.runtime.jetstream_log.names import StreamNames
from vagus.runtime.jetstream_log.patience import patiently
from vagus.runtime.jetstream_log.stored import Delivery, from_consumer, from_direct_get, read_error


class Pages(Protocol):
    """A way to read stored commits."""

    async def page(
        self, session_id: str, branch_id: str | None, start: int, count: int, *, bare: bool = False
    ) -> list[Commit]:
        """The first commits from stream sequence `start` on, of one branch or all.

        At most `count`, often fewer; empty only if there are none. `bare`: payloads are not needed and may be
        left out.

        Raises:
            SessionNotFound: There is no such log (told by clients' pages only).
            Unavailable: They did not come; ask again.
        """
        ...


class DirectPages:
    """By batched direct gets: one round trip a page. The permission reaches every stream, so kernels only."""

    _MOST: Final = 256
    _MOST_BYTES: Final = 4 * limits.MIB
    """A page ends after the commit that passes it."""

    def __init__(self, bus: Bus, subjects: Subjects, names: StreamNames) -> None:
        self._bus = bus
        self._subjects = subjects
        self._names = names

    async def page(
        self, session_id: str, branch_id: str | None, start: int, count: int, *, bare: bool = False
    ) -> list[Commit]:
        """See `Pages.page`."""
        wanted: dict[str, object] = {
            "seq": start,
            "batch": min(count, self._MOST),
            "max_bytes": self._MOST_BYTES,
        }
        if branch_id is not None:
            wanted["next_by_subj"] = self._subjects.log(session_id, branch_id)
        try:
            *found, end = await self._bus.collect(
                f"$JS.API.DIRECT.GET.{self._names.of(session_id)}",
                msgspec.json.encode(wanted),
                last=_is_status,
                timeout_s=limits.REQUEST_TIMEOUT_S,
            )
        except (OutcomeUnknown, Unavailable) as error:
            raise read_error(session_id, error) from error
        if end.status not in (204, 404):
            raise Unavailable(f"cannot read the log of {session_id}: {end.description} ({end.status})")
        return [from_direct_get(session_id, message) for message in found]


class ConsumerPages:
    """By consumers that are left after one page.

    The server delivers as many messages as may be unacknowledged; nothing is ever acknowledged, so that this
    is the size of the page.
    """

    _MOST: Final = 64
    _SILENCE_S: Final = 1.0
    """After which a page ends with what there is of it."""

    def __init__(self, bus: Bus, subjects: Subjects, names: StreamNames) -> None:
        self._bus = bus
        self._subjects = subjects
        self._names = names

    async def page(
        self, session_id: str, branch_id: str | None, start: int, count: int, *, bare: bool = False
    ) -> list[Commit]:
        """See `Pages.page`."""
        page = partial(self._page, session_id, branch_id, start, min(count, self._MOST), bare)
        return await patiently(self._bus, page)

    async def _page(
        self, session_id: str, branch_id: str | None, start: int, count: int, bare: bool
    ) -> list[Commit]:
        inbox = self._bus.new_inbox()
        async with self._bus.subscribe(inbox, limit=count) as messages:
            pending = await create_consumer(
                self._bus,
                self._subjects,
                self._names.of(session_id),
                session_id,
                branch_id,
                inbox=inbox,
                start=start,
                options={
                    "ack_policy": "explicit",
                    "ack_wait": seconds(limits.DUPLICATE_WINDOW_S),
                    "headers_only": bare,
                    "max_ack_pending": count,
                },
            )
            found: list[Commit] = []
            with anyio.move_on_after(limits.REQUEST_TIMEOUT_S):
                while len(found) < min(count, pending):
                    with anyio.move_on_after(self._SILENCE_S if found else None):
                        message = await anext(messages)
                        found.append(from_consumer(session_id, message, Delivery.of(message)))
                        continue
                    break  # of what it counts, the server passes over a message that is damaged
                return found
        raise Unavailable(f"cannot read the log of {session_id}: {pending} commits from {start} did not come")


def _is_status(message: Message) -> bool:
    return "Status" in message.headers
