"""The approver against a real broker."""

from collections.abc import AsyncIterator
from typing import Any

import anyio
import msgspec
import pytest
from msgspec.structs import replace

from tests.kit.services import Inbox, impatient, serving, stored, wait_until_empty
from tests.kit.waiting import eventually
from vagus.contract.approvals import Answer, ApprovalDecision, ApprovalTicket, Resolution, TicketState
from vagus.contract.commands import Reply
from vagus.contract.errors import OutcomeUnknown
from vagus.contract.messages import Role, decode
from vagus.contract.streams import TICKETS, answer_consumer
from vagus.contract.subjects import Subjects
from vagus.runtime import clock, faults
from vagus.runtime.bucket import Bucket, Entry
from vagus.runtime.bus import Bus
from vagus.runtime.provision import ensure
from vagus_approver import approver as approver_module
from vagus_approver.approver import serve
from vagus_approver.settings import Settings


class Desk:
    """A kernel and a person, as an approver sees them."""

    def __init__(self, bus: Bus, subjects: Subjects) -> None:
        self.bus = bus
        self.subjects = subjects
        self.inbox = Inbox(bus, subjects)
        self.tickets = Bucket(bus, subjects.named(TICKETS))
        self.settings = Settings(root_subject=subjects.root, partitions=1)
        self._count = 0

    def ticket(self, *, timeout_s: float = 60, **changes: Any) -> ApprovalTicket:
        self._count += 1
        made = ApprovalTicket(
            approval_id=f"t{self._count}",
            session_id="s",
            call_id="any text",
            tool_name="pay",
            capability="payments:initiate",
            reason="approval required for tool pay",
            created_at=clock.now(),
            branch_id="main",
            tool_run_id="r",
            arguments={"amount": 3},
            expires_at=clock.plus(timeout_s),
        )
        return replace(made, **changes)

    async def say(self, ticket: ApprovalTicket, attempt: int = 1, session: str | None = None) -> None:
        """What the kernel says of a ticket."""
        subject = self.subjects.approval(session or ticket.session_id)
        msg_id = f"{ticket.approval_id}.{ticket.state.value}.{attempt}"
        await self.bus.store(subject, msgspec.json.encode(ticket), msg_id=msg_id)

    async def ask(self, ticket: ApprovalTicket) -> ApprovalTicket:
        """Ask for a ticket and wait until it is kept."""
        await self.say(ticket)
        await eventually(lambda: self.kept(ticket))
        return ticket

    async def kept(self, ticket: ApprovalTicket) -> ApprovalTicket | None:
        entry = await self.tickets.get(f"{ticket.session_id}.{ticket.approval_id}")
        return None if entry is None else decode(entry.value, ApprovalTicket)

    async def state(self, ticket: ApprovalTicket, state: TicketState, timeout_s: float = 5) -> ApprovalTicket:
        """Wait until a ticket stands so."""

        async def stands() -> ApprovalTicket | None:
            kept = await self.kept(ticket)
            return kept if kept is not None and kept.state is state else None

        found = await eventually(stands, timeout_s=timeout_s)
        assert found is not None
        return found

    async def send(self, answer: Answer, session: str = "s", msg_id: str | None = None) -> None:
        """An answer that nobody waits for."""
        await self.bus.store(self.subjects.answer(session), msgspec.json.encode(answer), msg_id=msg_id)

    async def answer(
        self, approval_id: str, decision: str = "approved", *, session: str = "s", **changes: Any
    ) -> Reply:
        """Answer a ticket and wait for the reply."""
        self._count += 1
        inbox = self.bus.new_inbox()
        said = Answer(
            answer_id=f"a{self._count}",
            approval_id=approval_id,
            decision=ApprovalDecision(decision),
            actor="ann",
            reply_to=inbox,
        )
        async with self.bus.subscribe(inbox) as replies:
            await self.send(replace(said, **changes), session)
            with anyio.fail_after(20):
                return decode((await anext(replies)).data, Reply)

    def resolutions(self, ticket: ApprovalTicket) -> list[Resolution]:
        found = self.inbox.of(Role.RESOLUTION, Resolution)
        return [said for said in found if said.approval_id == ticket.approval_id]

    async def resolution(self, ticket: ApprovalTicket, timeout_s: float = 5) -> Resolution:
        return (await eventually(lambda: self.resolutions(ticket), timeout_s=timeout_s))[0]

    async def quiet(self) -> None:
        """Wait until every ticket and answer is acknowledged."""
        await wait_until_empty(self.bus, self.subjects.named("APPROVALS"))


@pytest.fixture
async def desk(bus: Bus, subjects: Subjects) -> AsyncIterator[Desk]:
    await ensure(bus, subjects, partitions=1)
    desk = Desk(bus, subjects)
    async with desk.inbox.open():
        yield desk


# Answers --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("decision", ["approved", "denied"])
async def test_an_answer_reaches_the_kernel_and_whoever_gave_it(desk: Desk, decision: str) -> None:
    async with serving(serve, desk.bus, desk.settings):
        ticket = await desk.ask(desk.ticket())
        reply = await desk.answer(ticket.approval_id, decision, reason="because")
        assert await desk.resolution(ticket) == Resolution(
            approval_id=ticket.approval_id, decision=ApprovalDecision(decision), actor="ann", reason="because"
        )
    assert reply.error is None
    assert reply.ok is not None
    told = decode(bytes(reply.ok), ApprovalTicket)
    assert told == await desk.kept(ticket)
    assert (told.state, told.resolved_by, told.resolved_reason) == (decision, "ann", "because")
    assert told.arguments == {"amount": 3}


async def test_a_ticket_is_answered_once(desk: Desk) -> None:
    async with serving(serve, desk.bus, desk.settings):
        ticket = await desk.ask(desk.ticket())
        first = await desk.answer(ticket.approval_id, "denied")
        assert first.error is None
        for decision in ("approved", "denied", "timeout"):
            second = await desk.answer(ticket.approval_id, decision)
            assert second.error is not None
            assert second.error.type == "ApprovalNotPending"
            assert second.error.message == f"approval not pending: {ticket.approval_id}"
        await desk.quiet()
    assert [said.decision for said in desk.resolutions(ticket)] == ["denied"]


@pytest.mark.parametrize("approval_id", ["nope", "", "a b", "*", ">", "x" * 65, "ä"])
async def test_an_answer_to_no_ticket_is_refused(desk: Desk, approval_id: str) -> None:
    async with serving(serve, desk.bus, desk.settings):
        await desk.ask(desk.ticket())
        reply = await desk.answer(approval_id)
    assert reply.error is not None
    assert reply.error.type == "ApprovalNotPending"
    assert reply.error.message == f"approval not pending: {approval_id}"


async def test_a_ticket_is_answered_in_its_own_session_only(desk: Desk) -> None:
    async with serving(serve, desk.bus, desk.settings):
        ticket = await desk.ask(desk.ticket())
        reply = await desk.answer(ticket.approval_id, session="other")
        assert reply.error is not None
        assert (await desk.kept(ticket)) == ticket
        assert (await desk.answer(ticket.approval_id)).error is None


async def test_an_answer_that_is_faster_than_its_ticket_waits_for_it(desk: Desk) -> None:
    ticket = desk.ticket()
    async with serving(serve, desk.bus, desk.settings):
        await desk.send(Answer(approval_id=ticket.approval_id, decision=ApprovalDecision.APPROVED))
        await eventually(lambda: stored(desk.bus, desk.subjects.named("APPROVALS")))
        await desk.say(ticket)
        assert (await desk.resolution(ticket)).decision == "approved"


async def test_a_bucket_that_does_not_answer_makes_no_ticket_missing(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As on a cluster, while the bucket has no leader."""
    monkeypatch.setattr("vagus_approver.approver.LATE_QUESTION_S", 0.05)
    get, silent = Bucket.get, [True]

    async def slow(self: Bucket, key: str, *, fresh: bool = False) -> Entry | None:
        if fresh and silent:
            silent.clear()
            await anyio.sleep(0.2)
            raise OutcomeUnknown
        return await get(self, key, fresh=fresh)

    async with serving(serve, desk.bus, desk.settings):
        ticket = await desk.ask(desk.ticket())
        silent.append(True)
        monkeypatch.setattr(Bucket, "get", slow)
        assert (await desk.answer(ticket.approval_id)).error is None


async def test_an_answer_that_is_too_long_for_the_log_is_refused(desk: Desk) -> None:
    async with serving(serve, desk.bus, desk.settings):
        ticket = await desk.ask(desk.ticket())
        reply = await desk.answer(ticket.approval_id, reason="x" * 5000)
        assert reply.error is not None
        assert reply.error.type == "Malformed"
        assert (await desk.kept(ticket)) == ticket


async def test_nobody_gets_an_approver_to_speak_elsewhere(desk: Desk) -> None:
    heard: list[str] = []
    feed = await desk.bus.subscribe_callback(
        f"{desk.subjects.root}.>", lambda message: heard.append(message.subject)
    )
    async with serving(serve, desk.bus, desk.settings):
        ticket = await desk.ask(desk.ticket())
        elsewhere = desk.subjects.inbox(Role.VERDICT, "s")
        await desk.send(
            Answer(approval_id=ticket.approval_id, decision=ApprovalDecision.DENIED, reply_to=elsewhere)
        )
        await desk.resolution(ticket)
        await desk.quiet()
    await feed.unsubscribe()
    assert elsewhere not in heard


async def test_of_many_answers_to_many_approvers_one_counts(desk: Desk) -> None:
    settings = [replace(desk.settings, instance=f"a{n}") for n in range(3)]
    replies: list[Reply] = []
    async with (
        serving(serve, desk.bus, settings[0]),
        serving(serve, desk.bus, settings[1]),
        serving(serve, desk.bus, settings[2]),
    ):
        ticket = await desk.ask(desk.ticket())

        async def answer(number: int) -> None:
            decision = "approved" if number % 2 else "denied"
            replies.append(await desk.answer(ticket.approval_id, decision, actor=f"person {number}"))

        async with anyio.create_task_group() as group:
            for number in range(12):
                group.start_soon(answer, number)
        await desk.quiet()
    (accepted,) = [reply for reply in replies if reply.error is None]
    assert accepted.ok is not None
    kept = await desk.kept(ticket)
    assert decode(bytes(accepted.ok), ApprovalTicket) == kept
    assert kept is not None
    (said,) = desk.resolutions(ticket)
    assert (said.decision.value, said.actor) == (kept.state.value, kept.resolved_by)


# Timeouts -------------------------------------------------------------------------------------------------


async def test_a_ticket_that_nobody_answers_times_out(desk: Desk) -> None:
    async with serving(serve, desk.bus, desk.settings):
        ticket = await desk.ask(desk.ticket(timeout_s=0.3))
        waiting = await desk.ask(desk.ticket())
        said = await desk.resolution(ticket)
        assert (said.decision, said.actor, said.reason) == ("timeout", "", "")
        assert clock.now() >= ticket.expires_at
        assert (await desk.kept(waiting)) == waiting
    assert (await desk.state(ticket, TicketState.TIMEOUT)).resolved_by is None


async def test_a_ticket_that_expired_while_no_approver_lived_times_out(desk: Desk) -> None:
    ticket = desk.ticket(timeout_s=-1)
    await desk.tickets.put(f"s.{ticket.approval_id}", msgspec.json.encode(ticket))
    async with serving(serve, desk.bus, desk.settings):
        assert (await desk.resolution(ticket)).decision == "timeout"


async def test_an_expired_ticket_cannot_be_approved_any_more(desk: Desk) -> None:
    async with serving(serve, desk.bus, desk.settings):
        ticket = await desk.ask(desk.ticket(timeout_s=-1))
        assert (await desk.answer(ticket.approval_id)).error is not None
        assert (await desk.resolution(ticket)).decision == "timeout"
        await desk.quiet()
    assert len(desk.resolutions(ticket)) == 1


async def test_nobody_can_make_a_ticket_time_out_early(desk: Desk) -> None:
    async with serving(serve, desk.bus, desk.settings):
        ticket = await desk.ask(desk.ticket())
        assert (await desk.answer(ticket.approval_id, "timeout")).error is not None
        assert (await desk.kept(ticket)) == ticket


async def test_a_timeout_is_taken_once_however_many_approvers_notice_it(desk: Desk) -> None:
    second = replace(desk.settings, instance="a2")
    async with serving(serve, desk.bus, desk.settings), serving(serve, desk.bus, second):
        tickets = [await desk.ask(desk.ticket(timeout_s=0.5)) for _ in range(5)]
        for ticket in tickets:
            await desk.resolution(ticket)
        await desk.quiet()
    assert all(len(desk.resolutions(ticket)) == 1 for ticket in tickets)


async def test_tickets_that_ended_long_ago_are_forgotten(desk: Desk) -> None:
    long_ago = clock.plus(-8 * 24 * 3600)
    old = desk.ticket(state=TicketState.DENIED, resolved_at=long_ago)
    new = desk.ticket(state=TicketState.DENIED, resolved_at=clock.now())
    waiting = desk.ticket(created_at=long_ago)
    for ticket in (old, new, waiting):
        await desk.tickets.put(f"s.{ticket.approval_id}", msgspec.json.encode(ticket))
    async with serving(serve, desk.bus, desk.settings):

        async def forgotten() -> bool:
            return await desk.kept(old) is None

        await eventually(forgotten)
        assert await desk.kept(new) == new
        assert await desk.kept(waiting) == waiting


# What the kernel says -------------------------------------------------------------------------------------


async def test_a_withdrawn_ticket_ends_without_a_resolution(desk: Desk) -> None:
    async with serving(serve, desk.bus, desk.settings):
        ticket = await desk.ask(desk.ticket())
        await desk.say(replace(ticket, state=TicketState.WITHDRAWN))
        await desk.state(ticket, TicketState.WITHDRAWN)
        assert (await desk.answer(ticket.approval_id)).error is not None
        await desk.quiet()
    assert desk.resolutions(ticket) == []


async def test_a_withdrawal_that_overtakes_its_question_stands(desk: Desk) -> None:
    ticket = desk.ticket()
    async with serving(serve, desk.bus, desk.settings):
        await desk.say(replace(ticket, state=TicketState.WITHDRAWN))
        await desk.state(ticket, TicketState.WITHDRAWN)
        await desk.say(ticket)
        await desk.quiet()
        assert (await desk.answer(ticket.approval_id)).error is not None
    kept = await desk.kept(ticket)
    assert kept is not None
    assert kept.state is TicketState.WITHDRAWN


async def test_a_kernel_that_asks_again_is_told_again(desk: Desk) -> None:
    ticket = desk.ticket(state=TicketState.APPROVED, resolved_by="ann", resolved_at=clock.now())
    await desk.tickets.put(f"s.{ticket.approval_id}", msgspec.json.encode(ticket))
    async with serving(serve, desk.bus, desk.settings):
        await desk.say(replace(ticket, state=TicketState.PENDING), attempt=2)
        said = await desk.resolution(ticket)
        assert (said.decision, said.actor) == ("approved", "ann")
    assert await desk.kept(ticket) == ticket


@pytest.mark.parametrize(
    "changes",
    [
        {"approval_id": "a.b"},
        {"approval_id": ">"},
        {"expires_at": "soon"},
        {"session_id": "other"},
        {"state": TicketState.APPROVED},
    ],
)
async def test_a_ticket_that_cannot_be_kept_goes_to_the_dead_letters(
    desk: Desk, changes: dict[str, Any]
) -> None:
    async with serving(serve, desk.bus, desk.settings):
        await desk.say(desk.ticket(**changes), session="s")
        await desk.quiet()
    assert await stored(desk.bus, desk.subjects.named("DEAD")) == 1
    assert await desk.tickets.keys() == []


@pytest.mark.parametrize("data", [b"", b"[]", b'{"approval_id": "t1", "decision": "maybe"}', b"\xff"])
async def test_what_is_no_answer_goes_to_the_dead_letters(desk: Desk, data: bytes) -> None:
    async with serving(serve, desk.bus, desk.settings):
        await desk.bus.store(desk.subjects.answer("s"), data)
        await desk.quiet()
    assert await stored(desk.bus, desk.subjects.named("DEAD")) == 1


# Crashes --------------------------------------------------------------------------------------------------


class Died(Exception):
    """The process ends here."""


@pytest.mark.parametrize("point", [approver_module.TICKET_RESOLVED, approver_module.RESOLUTION_STORED])
@pytest.mark.parametrize("decision", ["approved", "timeout"])
async def test_an_approver_that_dies_between_its_steps_loses_and_doubles_nothing(
    desk: Desk, point: str, decision: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    left = [1]

    def die(name: str) -> None:
        if name == point and left:
            left.pop()
            raise Died

    monkeypatch.setattr(faults, "hit", die)
    await impatient(desk.bus, answer_consumer(desk.subjects))
    ticket = desk.ticket(timeout_s=0.2 if decision == "timeout" else 60)
    await desk.say(ticket)
    if decision == "approved":
        answer = Answer(answer_id="a1", approval_id=ticket.approval_id, decision=ApprovalDecision.APPROVED)
        await desk.send(answer, msg_id="a1")
    with pytest.raises(ExceptionGroup) as ended, anyio.fail_after(20):
        await serve(desk.bus, desk.settings, anyio.Event(), started=lambda: None)
    assert ended.group_contains(Died)
    async with serving(serve, desk.bus, desk.settings):
        assert (await desk.resolution(ticket)).decision == decision
        await desk.state(ticket, TicketState(decision))
        await desk.quiet()
    assert len(desk.resolutions(ticket)) == 1
    assert await stored(desk.bus, desk.subjects.named("DEAD")) == 0


async def test_a_reply_that_a_crash_swallowed_is_sent_when_the_answer_comes_again(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    left = [1]

    def die(name: str) -> None:
        if left:
            left.pop()
            raise Died

    monkeypatch.setattr(faults, "hit", die)
    await impatient(desk.bus, answer_consumer(desk.subjects))
    ticket, inbox = desk.ticket(), desk.bus.new_inbox()
    await desk.say(ticket)
    async with desk.bus.subscribe(inbox) as replies:
        await desk.send(
            Answer(approval_id=ticket.approval_id, decision=ApprovalDecision.DENIED, reply_to=inbox)
        )
        with pytest.raises(ExceptionGroup):
            await serve(desk.bus, desk.settings, anyio.Event(), started=lambda: None)
        async with serving(serve, desk.bus, desk.settings):
            with anyio.fail_after(20):
                reply = decode((await anext(replies)).data, Reply)
    assert reply.error is None
