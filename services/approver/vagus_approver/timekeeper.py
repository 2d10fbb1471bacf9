"""The timekeeper: lets tickets time out, and forgets those that ended long ago.

A timeout is an answer like any other, stored on the queue of answers under an id that all approvers give it.
So it survives the crash of whoever noticed it, and is taken once.
"""

import logging
from typing import Final

import anyio
import msgspec

from vagus.contract.approvals import Answer, ApprovalDecision, ApprovalTicket, TicketState
from vagus.contract.errors import Malformed, VagusError
from vagus.contract.messages import decode
from vagus.contract.subjects import Subjects
from vagus.runtime import clock
from vagus.runtime.bucket import Bucket, Deleted, Entry
from vagus.runtime.bus import Bus
from vagus_approver.agenda import Agenda

AGAIN_S: Final = 30.0
"""A ticket that has expired and is still pending is answered again: the last answer may have been lost."""
RETRY_S: Final = 2.0
LONGEST_SLEEP_S: Final = 60.0
"""The wall clock may be set meanwhile."""

_S: Final = 1_000_000_000
_log = logging.getLogger(__name__)


class Timekeeper:
    """Knows when each ticket is due. Nothing of it needs to survive: the bucket tells it anew."""

    def __init__(self, *, bucket: Bucket, bus: Bus, keep_s: float, subjects: Subjects) -> None:
        self._bucket = bucket
        self._bus = bus
        self._keep_ns = round(keep_s * _S)
        self._subjects = subjects
        self._expiring = Agenda()
        self._pending: dict[str, int] = {}
        self._ageing = Agenda()
        self._changed = anyio.Event()

    @property
    def pending(self) -> int:
        """Tickets that wait for an answer."""
        return len(self._pending)

    async def watch(self) -> None:
        """Learn of every ticket, until cancelled."""
        async with self._bucket.watch() as changes:
            async for change in changes:
                match change:
                    case Entry():
                        self._note(change)
                    case Deleted(key=key):
                        self._pending.pop(key, None)
                        self._expiring.drop(key)
                        self._ageing.drop(key)
                    case _:
                        continue
                self._changed.set()

    async def run(self) -> None:
        """Do what is due, until cancelled."""
        while True:
            self._changed = anyio.Event()
            now_ns = clock.now_ns()
            for key in self._expiring.take_due(now_ns):
                await self._time_out(key, now_ns)
            for key in self._ageing.take_due(now_ns):
                await self._forget(key, now_ns)
            with anyio.move_on_after(self._sleep_s()):
                await self._changed.wait()

    def _sleep_s(self) -> float:
        dues = [due for due in (self._expiring.next_due(), self._ageing.next_due()) if due is not None]
        return min([LONGEST_SLEEP_S, *(max(0, due - clock.now_ns()) / _S for due in dues)])

    def _note(self, entry: Entry) -> None:
        try:
            ticket = decode(entry.value, ApprovalTicket)
            if ticket.state is TicketState.PENDING:
                self._pending[entry.key] = clock.parse(ticket.expires_at)
                self._expiring.put(entry.key, self._pending[entry.key])
                return
            ended_ns = clock.parse(ticket.resolved_at or ticket.expires_at)
        except Malformed as error:
            _log.error("ticket %s is left alone: %s", entry.key, error.message)
            return
        self._pending.pop(entry.key, None)
        self._expiring.drop(entry.key)
        self._ageing.put(entry.key, ended_ns + self._keep_ns)

    async def _time_out(self, key: str, now_ns: int) -> None:
        expires_ns = self._pending.get(key)
        if expires_ns is None:
            return  # answered a moment ago
        session, _, approval_id = key.partition(".")
        turn = round((now_ns - expires_ns) / _S // AGAIN_S)
        answer = Answer(
            answer_id=f"{approval_id}.timeout.{turn}",
            approval_id=approval_id,
            decision=ApprovalDecision.TIMEOUT,
        )
        again_s = AGAIN_S
        try:
            await self._bus.store(
                self._subjects.answer(session), msgspec.json.encode(answer), msg_id=answer.answer_id
            )
        except VagusError as error:
            _log.warning("cannot let ticket %s time out: %s; trying again", approval_id, error.message)
            again_s = RETRY_S
        if key in self._pending:
            self._expiring.put(key, now_ns + round(again_s * _S))

    async def _forget(self, key: str, now_ns: int) -> None:
        try:
            await self._bucket.delete(key)
        except VagusError as error:
            _log.warning("cannot forget ticket %s: %s; trying again", key, error.message)
            self._ageing.put(key, now_ns + round(RETRY_S * _S))
