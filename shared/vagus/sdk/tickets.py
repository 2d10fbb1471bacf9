"""Approval tickets as people see them: what waits for an answer, and answering it."""

from collections import deque
from typing import Final
from uuid import UUID, uuid4

import anyio
import msgspec

from vagus.contract import limits
from vagus.contract.approvals import Answer, ApprovalDecision, ApprovalTicket, TicketState
from vagus.contract.errors import ApprovalNotPending, Malformed, OutcomeUnknown, Unavailable
from vagus.contract.messages import decode
from vagus.contract.sessions import TickOutput
from vagus.contract.streams import TICKETS
from vagus.contract.subjects import Subjects
from vagus.runtime.bucket import Bucket
from vagus.runtime.bus import Bus
from vagus.sdk.dispatch import unwrap
from vagus.sdk.liveness import may_live
from vagus.sdk.post import encoded, store_once
from vagus.sdk.replies import Replies

NEW_TICKET_S: Final = 2.0
"""How long a ticket that is not there, and that a tick may have named a moment ago, is waited for."""
PATIENCE_S: Final = 30.0
"""How much longer, while approvers still have to do what they were asked before, or a kernel to ask them."""
NAMED_KEPT: Final = 1024
POLL_S: Final = 0.05


class Tickets:
    """The bucket of tickets, and the way to the approvers."""

    def __init__(self, *, bus: Bus, replies: Replies, subjects: Subjects) -> None:
        self._bus = bus
        self._bucket = Bucket(bus, subjects.named(TICKETS))
        self._replies = replies
        self._subjects = subjects
        self._named: deque[str] = deque(maxlen=NAMED_KEPT)

    def name(self, output: TickOutput) -> None:
        """A tick has ended so: the tickets that it names are there, or will be.

        If its end was read from the log, the kernel may not have asked for them yet: the approvers' stream
        may be without a leader for some seconds.
        """
        self._named.extend(pending.approval_id for pending in output.pending_approvals)

    async def pending(self, session_id: str | None) -> list[ApprovalTicket]:
        """Tickets without an answer, oldest first."""
        entries = await self._bucket.entries(">" if session_id is None else f"{session_id}.*")
        tickets = [decode(entry.value, ApprovalTicket) for entry in entries]
        waiting = [ticket for ticket in tickets if ticket.state is TicketState.PENDING]
        return sorted(waiting, key=lambda ticket: (ticket.created_at, ticket.approval_id))

    async def answer(
        self, approval_id: str, decision: ApprovalDecision, *, actor: str, reason: str
    ) -> ApprovalTicket:
        """Answer a ticket; returns it as it stands then.

        Raises:
            ApprovalNotPending: There is no such ticket, or it has been answered.
            Unavailable: No approver has made the ticket so far. Nothing was answered.
            OutcomeUnknown: The answer is stored, and no approver has confirmed it in time.
        """
        ticket = await self._find(approval_id)
        answer = Answer(
            answer_id=str(uuid4()), approval_id=approval_id, decision=decision, actor=actor, reason=reason
        )
        with self._replies.expect() as awaited:
            addressed = msgspec.structs.replace(answer, reply_to=awaited.reply_to)
            subject = self._subjects.answer(ticket.session_id)
            await store_once(self._bus, subject, encoded(addressed), msg_id=answer.answer_id)
            reply = await awaited.settled(limits.REPLY_TIMEOUT_S)
            if reply is None and await may_live(self._bus, self._subjects, "approver"):
                reply = await awaited.settled(2 * limits.REPLY_TIMEOUT_S)
        if reply is not None:
            return unwrap(reply, ApprovalTicket)
        return await self._missed(answer)

    async def _missed(self, answer: Answer) -> ApprovalTicket:
        """What became of an answer whose reply did not come."""
        ticket = await self._find(answer.approval_id)
        if str(ticket.state) == str(answer.decision) and ticket.resolved_by == answer.actor:
            return ticket
        if ticket.state is not TicketState.PENDING:
            raise ApprovalNotPending(f"approval not pending: {answer.approval_id}")
        raise OutcomeUnknown(
            f"no approver has confirmed the answer to {answer.approval_id} in time: "
            "it is stored, and counts as soon as one is alive"
        )

    async def _find(self, approval_id: str) -> ApprovalTicket:
        ticket, doubtful = None, _is_a_kernels(approval_id)
        try:
            ticket = await self._look(approval_id)
        except (OutcomeUnknown, Unavailable):
            doubtful = True
        if ticket is None and doubtful:
            ticket = await self._awaited(approval_id)
        if ticket is None:
            raise ApprovalNotPending(f"approval not pending: {approval_id}")
        return ticket

    async def _awaited(self, approval_id: str) -> ApprovalTicket | None:
        """A ticket that a tick has just named; it may be a moment away: the approver makes it.

        Its log cannot be asked instead: the id does not tell which session's that is. Unless the tick was
        ours, it is not to be once the approvers have done all that they had been asked. On a cluster that may
        take elections.
        """
        ours = approval_id in self._named
        began = anyio.current_time()
        last: int | None = None
        while (waited_s := anyio.current_time() - began) < PATIENCE_S:
            try:
                asked = await self._asked() if waited_s > NEW_TICKET_S else None
                last = asked.last_seq if asked is not None and last is None else last
                all_done = asked is not None and last is not None and asked.none_up_to(last)
                ticket = await self._look(approval_id, fresh=all_done)
            except (OutcomeUnknown, Unavailable):
                await anyio.sleep(POLL_S)
                continue
            if ticket is not None or (all_done and not ours):
                return ticket
            await anyio.sleep(POLL_S)
        raise Unavailable(f"no approver has come to {approval_id} yet, or nobody can tell: ask again")

    async def _look(self, approval_id: str, *, fresh: bool = False) -> ApprovalTicket | None:
        key = f"*.{approval_id}"
        try:
            found = [await self._bucket.latest(key)] if fresh else await self._bucket.entries(key)
        except Malformed:
            return None  # no key is spelled like this
        for entry in found:
            ticket = None if entry is None else decode(entry.value, ApprovalTicket)
            if (
                ticket is not None and ticket.approval_id == approval_id
            ):  # and no wildcard that happens to match
                return ticket
        return None

    async def _asked(self) -> "_Asked":
        """What waits for approvers."""
        info = await self._bus.api(f"STREAM.INFO.{self._subjects.named('APPROVALS')}")
        return msgspec.convert(info["state"], _Asked)


class _Asked(msgspec.Struct):
    messages: int
    first_seq: int
    """Of the oldest message that waits; without one, after the last, and 0 if there never was any."""
    last_seq: int

    def none_up_to(self, sequence: int) -> bool:
        """Whether nothing waits of what was there when this was the last."""
        return not self.messages or self.first_seq > sequence


def _is_a_kernels(approval_id: str) -> bool:
    """Whether a kernel makes ids like this: all that it names are."""
    try:
        return str(UUID(approval_id)) == approval_id
    except ValueError:
        return False
