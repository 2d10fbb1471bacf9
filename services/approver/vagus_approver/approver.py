"""The approver: tickets and people's answers in, resolutions and replies out."""

from collections.abc import Callable

import anyio
import msgspec
from msgspec.structs import replace

from vagus.contract.approvals import Answer, ApprovalTicket, TicketState
from vagus.contract.commands import Reply
from vagus.contract.errors import ApprovalNotPending, Conflict, Malformed, VagusError
from vagus.contract.ids import check_id
from vagus.contract.messages import Role, decode
from vagus.contract.streams import TICKETS, answer_consumer, approval_consumer
from vagus.contract.subjects import Subjects
from vagus.runtime import clock, faults, telemetry
from vagus.runtime.beside import beside
from vagus.runtime.bucket import Bucket, Entry
from vagus.runtime.bus import Bus
from vagus.runtime.intake import intake
from vagus.runtime.members import Lease
from vagus.runtime.queue import Delivery
from vagus_approver.settings import Settings
from vagus_approver.tickets import ask, check_answer, check_ticket, resolution_of, settle
from vagus_approver.timekeeper import Timekeeper

KIND = "approver"
TICKET_RESOLVED = "approver.ticket_resolved"
"""Fault point: the ticket has ended, the kernel does not know."""
RESOLUTION_STORED = "approver.resolution_stored"
"""Fault point: the kernel will know, whoever answered does not."""
LATE_QUESTION_S = 1.0
"""How long an answer waits for its ticket: the log tells people of it a moment before we are asked for it."""
LOOK_AGAIN_S = 0.05


async def serve(bus: Bus, settings: Settings, draining: anyio.Event, *, started: Callable[[], None]) -> None:
    """Keep tickets until `draining` is set; messages in hand are finished."""
    subjects = settings.subjects
    bucket = Bucket(bus, subjects.named(TICKETS))
    approver = Approver(bus=bus, bucket=bucket, subjects=subjects)
    timekeeper = Timekeeper(bus=bus, bucket=bucket, keep_s=settings.ticket_age_s, subjects=subjects)
    capacity = settings.approver_concurrency
    async with (
        beside(timekeeper.watch, timekeeper.run),
        Lease(bus, subjects, f"{KIND}.{settings.instance}", {}),
        intake(bus, subjects, approval_consumer(subjects), approver.ticket, capacity=capacity, kind=KIND),
        intake(bus, subjects, answer_consumer(subjects), approver.answer, capacity=capacity, kind=KIND),
    ):
        with telemetry.observed({telemetry.APPROVALS_WAITING: lambda: [(timekeeper.pending, {})]}):
            started()
            await draining.wait()


class Approver:
    """Keeps tickets. Each is settled by compare-and-set, so any number of approvers may race."""

    def __init__(self, *, bucket: Bucket, bus: Bus, subjects: Subjects) -> None:
        self._bucket = bucket
        self._bus = bus
        self._subjects = subjects

    async def ticket(self, delivery: Delivery) -> None:
        """The kernel asks for a ticket, asks again, or withdraws it. Idempotent."""
        said = decode(delivery.data, ApprovalTicket)
        check_ticket(said, Subjects.last_token(delivery.subject))
        kept = await self._keep(said)
        if said.state is TicketState.PENDING and kept.state is not TicketState.PENDING:
            # asked for again: the resolution may never have reached the kernel
            await self._tell(kept, telemetry.extract(delivery.headers))

    async def answer(self, delivery: Delivery) -> None:
        """Somebody answers a ticket, or the clock does. Idempotent."""
        answer = decode(delivery.data, Answer)
        if not answer.answer_id:
            answer = replace(answer, answer_id=f"{delivery.stream}-{delivery.stream_sequence}")
        session = Subjects.last_token(delivery.subject)
        attributes = {telemetry.SESSION_ID: session, telemetry.APPROVAL_ID: answer.approval_id}
        parent = telemetry.extract(delivery.headers)
        with telemetry.span(telemetry.RESOLVE_APPROVAL, attributes, parent) as span:
            span.set(telemetry.APPROVAL_DECISION, answer.decision.value)
            try:
                outcome: ApprovalTicket | VagusError = await self._answer(session, answer, span.context)
            except (ApprovalNotPending, Malformed) as error:
                span.fail(error.message)
                outcome = error
        await self._reply(answer, outcome)

    async def _answer(self, session: str, answer: Answer, context: str | None) -> ApprovalTicket:
        check_answer(answer)
        not_pending = ApprovalNotPending(f"approval not pending: {answer.approval_id}")
        try:
            key = f"{session}.{check_id('approval id', answer.approval_id)}"
        except Malformed as error:
            raise not_pending from error
        while True:
            entry = await self._find(key)
            if entry is None:
                raise not_pending
            settlement = settle(decode(entry.value, ApprovalTicket), answer, clock.now_ns())
            if settlement.changed and not await self._update(key, settlement.ticket, entry):
                continue  # whoever was first has ended it: the next round is the last
            if not settlement.ours:
                raise not_pending
            faults.hit(TICKET_RESOLVED)
            await self._tell(settlement.ticket, context)
            faults.hit(RESOLUTION_STORED)
            if settlement.ticket.state.value != answer.decision.value:
                raise not_pending
            return settlement.ticket

    async def _keep(self, said: ApprovalTicket) -> ApprovalTicket:
        """Store what the kernel said, as far as it changes anything; returns the ticket as it stands."""
        key = f"{said.session_id}.{said.approval_id}"
        while True:
            entry = await self._bucket.get(key, fresh=True)
            kept = None if entry is None else decode(entry.value, ApprovalTicket)
            ticket = ask(said, kept, clock.now_ns())
            if ticket is kept or await self._update(key, ticket, entry):
                return ticket

    async def _update(self, key: str, ticket: ApprovalTicket, entry: Entry | None) -> bool:
        try:
            if entry is None:
                await self._bucket.create(key, msgspec.json.encode(ticket))
            else:
                await self._bucket.update(key, msgspec.json.encode(ticket), entry.revision)
        except Conflict:
            return False
        return True

    async def _find(self, key: str) -> Entry | None:
        give_up_at = anyio.current_time() + LATE_QUESTION_S
        while True:
            entry = await self._bucket.get(key, fresh=True)  # not cut short: no answer is no absence
            if entry is not None or anyio.current_time() > give_up_at:
                return entry
            await anyio.sleep(LOOK_AGAIN_S)

    async def _tell(self, ticket: ApprovalTicket, context: str | None) -> None:
        """Tell the kernel how a ticket ended; again, if need be: it is one message."""
        resolution = resolution_of(ticket)
        if resolution is None:
            return
        headers: dict[str, str] = {}
        telemetry.inject(headers, context)
        await self._bus.store(
            self._subjects.inbox(Role.RESOLUTION, ticket.session_id),
            msgspec.json.encode(resolution),
            msg_id=f"{resolution.approval_id}.{resolution.decision.value}",
            headers=headers,
        )

    async def _reply(self, answer: Answer, outcome: ApprovalTicket | VagusError) -> None:
        if answer.reply_to is None or not Subjects.is_inbox(answer.reply_to):
            return
        await self._bus.publish(answer.reply_to, msgspec.json.encode(Reply.to(answer.answer_id, outcome)))
