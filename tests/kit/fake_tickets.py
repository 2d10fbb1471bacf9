"""Stands in for the bucket of tickets, as kernels read it."""

from collections.abc import Awaitable, Callable, Mapping

import msgspec

from vagus.contract.approvals import ApprovalTicket
from vagus.runtime.bucket import Entry


class FakeTickets:
    """The tickets of one session's world; `passes` is awaited before they are looked at."""

    def __init__(self, tickets: Mapping[str, ApprovalTicket], passes: Callable[[], Awaitable[None]]) -> None:
        self._tickets = tickets
        self._passes = passes

    async def entries(self, wanted: str) -> list[Entry]:
        await self._passes()
        return [Entry(key, msgspec.json.encode(ticket), 1) for key, ticket in self._tickets.items()]
