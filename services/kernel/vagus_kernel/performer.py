"""Performs what the state owes: once at first, and again when no answer came.

What is owed is asked of `react` after every commit; what was performed is remembered by effect id. Requests
to the gate and to runners are sent without waiting for an ack, since they are repeated until they are
answered. A ticket is stored before anything is acked: nothing else would ask for it again.
"""

import logging
from collections.abc import Awaitable, Callable, Iterable, Set
from contextlib import suppress
from dataclasses import dataclass
from typing import Final, TypeGuard

import msgspec
from anyio.abc import TaskGroup
from msgspec.structs import replace

from vagus.contract import clock as instants
from vagus.contract.approvals import ApprovalDecision, ApprovalTicket, Resolution, TicketState
from vagus.contract.claims import CANCELLED, Claim, claim_key
from vagus.contract.errors import Conflict, Malformed, Permanent, VagusError
from vagus.contract.limits import DEADLINE_GRACE_S
from vagus.contract.messages import GateRequest, ToolRequest, decode
from vagus.contract.tools import DEFAULT_POOL, Priority
from vagus.runtime import clock, telemetry
from vagus_kernel.effects import AskApproval, AskGate, CallModel, Owed, RunTool, WithdrawTicket
from vagus_kernel.inputs import ApprovalResolved, DeadlinePassed, GiveUp, Input, ToolNeverRan
from vagus_kernel.patience import Patience
from vagus_kernel.ports import Ports
from vagus_kernel.react import react
from vagus_kernel.state import Session

_log = logging.getLogger(__name__)

CANCEL_AGAIN_S: Final = 2.0
"""How often a runner that goes on is told again to stop: it is told at most once at a time."""
_FOR_GOOD: Final = 2**63
"""A ticket that is stored needs no repetition."""


@dataclass(slots=True)
class _Performed:
    effect: Owed
    attempt: int
    signed_at: int
    """When it was last performed, or a sign of its being worked on came; nanoseconds."""
    deadline: int | None = None
    priority: Priority | None = None
    """With which a tool run waits for a runner."""
    cancelled_at: int | None = None
    ended: bool = False
    """A tool run whose end was reported, or that will never start: nobody need be told to stop."""


class Performer:
    """The effects of one session."""

    def __init__(
        self,
        ports: Ports,
        tasks: TaskGroup,
        *,
        patience: Patience,
        call_model: Callable[[CallModel], None],
        forget_model: Callable[[str], None],
        post: Callable[[Input], None],
        traceparent: Callable[[str], str | None],
    ) -> None:
        self._ports = ports
        self._tasks = tasks
        self._patience = patience
        self._call_model = call_model
        self._forget_model = forget_model
        self._post = post
        self._traceparent = traceparent
        self._performed: dict[str, _Performed] = {}
        self._foreseen: tuple[Session | None, dict[str, Owed]] = (None, {})
        self._inherited: Set[str] = frozenset()
        self._waiting = 0

    @property
    def busy(self) -> bool:
        """Whether anything is owed."""
        asked = (done.signed_at == _FOR_GOOD for done in self._performed.values())
        return not all(asked) or self._waiting > 0

    def inherit(self, session: Session) -> None:
        """The state was read from the log: what it asks the gate was asked before, by whoever wrote it.

        So it is another attempt: the first one's message id is known to the server, its answer perhaps lost.
        """
        owed = self._owed(session).items()
        self._inherited = {effect_id for effect_id, effect in owed if isinstance(effect, AskGate)}

    async def reconcile(self, session: Session) -> None:
        """Perform what is newly owed, and forget what no longer is.

        Raises:
            Unavailable, OutcomeUnknown, Busy: A ticket could not be stored.
        """
        owed = self._owed(session)
        for effect_id in [known for known in self._performed if known not in owed]:
            self._forget(self._performed.pop(effect_id))
        running = self._running
        self._waiting = 0
        for effect_id, effect in owed.items():
            done = self._performed.get(effect_id)
            if done is None:
                if isinstance(effect, RunTool) and not effect.cancelling:
                    if running >= self._ports.settings.session_inflight:
                        self._waiting += 1
                        continue
                    running += 1
                done = self._performed[effect_id] = self._new(effect)
                await self._perform(done)
            elif isinstance(effect, RunTool) and effect.cancelling and done.cancelled_at is None:
                done.effect = effect
                await self._cancel(done, effect)

    def foresee(self, session: Session) -> None:
        """The state will be this one, if the commit on its way is stored: work out what it owes.

        Gates are asked already, and tools that only read. They change nothing, and nobody acts on an answer
        to what is not on the log: only this kernel knows the question, and it gives up when the commit fails.
        """
        for effect_id, effect in self._owed(session).items():
            if effect_id in self._performed or not self._asks_only(effect):
                continue
            done = self._new(effect)
            done.attempt += 1
            if isinstance(effect, RunTool):
                done.deadline = _latest(effect)
            subject, message = self._message(done, effect)
            data, headers = self._parcel(message, done, effect.branch_id)
            with suppress(Permanent):  # the usual way will find the same, and know what to do about it
                self._ports.bus.send(subject, data, headers=headers)
                self._performed[effect_id] = done

    def _new(self, effect: Owed) -> _Performed:
        return _Performed(effect, int(effect.effect_id in self._inherited), clock.now_ns())

    def _asks_only(self, effect: Owed) -> TypeGuard[AskGate | RunTool]:
        """Whether it changes nothing, so that it does no harm if the log never says that it was owed."""
        match effect:
            case AskGate():
                return True
            case RunTool(call=call, cancelling=False, started=False):
                definition = self._ports.toolbox.get(call.tool_name)
                reads = definition is not None and definition.annotations.read_only
                return reads and self._running < self._ports.settings.session_inflight
        return False

    @property
    def _running(self) -> int:
        return sum(isinstance(done.effect, RunTool) for done in self._performed.values())

    def _owed(self, session: Session) -> dict[str, Owed]:
        if self._foreseen[0] is not session:
            timeout_s = self._ports.settings.approval_timeout_s
            effects = react(session, approval_timeout_s=timeout_s)
            self._foreseen = session, {effect.effect_id: effect for effect in effects}
        return self._foreseen[1]

    def sign(self, effect_id: str, *, ended: bool = False) -> None:
        """A sign of the effect's being worked on: a verdict, a running tool's heartbeat, or its end."""
        done = self._performed.get(effect_id)
        if done is not None:
            done.signed_at = clock.now_ns()
            done.ended = done.ended or ended

    def overdue(self, now_ns: int) -> bool:
        """Whether `on_clock` has anything to do."""
        return any(
            self._silent(done, now_ns) or self._late(done, now_ns) or self._deaf(done, now_ns)
            for done in self._performed.values()
        )

    async def on_clock(self, now_ns: int, *, reconnected: bool = False) -> None:
        """Repeat what has been silent for too long, and tell which deadlines have passed."""
        for done in list(self._performed.values()):
            effect = done.effect
            if isinstance(effect, RunTool) and self._late(done, now_ns):
                done.deadline = now_ns + self._silence
                self._tasks.start_soon(self._expire, effect)
            elif isinstance(effect, RunTool) and self._deaf(done, now_ns):
                await self._cancel(done, effect)
            elif self._silent(done, now_ns) or (reconnected and not isinstance(effect, AskApproval)):
                await self._perform(done)

    async def withdraw(self, effects: Iterable[WithdrawTicket]) -> None:
        """Tell the approver that nobody need answer any more; raises as `reconcile`."""
        for effect in effects:
            ticket = replace(effect.ticket, state=TicketState.WITHDRAWN)
            subject = self._ports.subjects.approval(ticket.session_id)
            await self._store(subject, ticket, f"{ticket.approval_id}.withdrawn")

    async def withdraw_forgotten(self, session: Session, check: Callable[[], Awaitable[None]]) -> None:
        """Withdraw open tickets that no call waits for: a kernel has died between a commit and `withdraw`.

        `check` raises if the state is out of date: then such a ticket may be that of a call which is newer.
        """
        key = f"{session.session_id}.*"
        forgotten: list[WithdrawTicket] = []
        for entry in await self._patience.until(lambda: self._ports.tickets.entries(key)):
            with suppress(Malformed):
                # of another version: not ours to withdraw, and no reason to stand still
                ticket = decode(entry.value, ApprovalTicket)
                if ticket.state is TicketState.PENDING and session.waiting_for(ticket.approval_id) is None:
                    forgotten.append(WithdrawTicket(ticket=ticket))
        if forgotten:
            await check()
            await self.withdraw(forgotten)

    # When -------------------------------------------------------------------------------------------------

    @property
    def _silence(self) -> int:
        return int(self._ports.settings.effect_retry * instants.SECOND_NS)

    def _silent(self, done: _Performed, now_ns: int) -> bool:
        return now_ns - done.signed_at > self._silence and not isinstance(done.effect, CallModel)

    def _late(self, done: _Performed, now_ns: int) -> bool:
        return done.deadline is not None and now_ns > done.deadline

    def _deaf(self, done: _Performed, now_ns: int) -> bool:
        return done.cancelled_at is not None and now_ns - done.cancelled_at > CANCEL_AGAIN_S * 1e9

    # What -------------------------------------------------------------------------------------------------

    async def _perform(self, done: _Performed) -> None:
        done.attempt += 1
        done.signed_at = clock.now_ns()
        effect = done.effect
        match effect:
            case CallModel():
                if done.attempt == 1:  # it runs in this process until it answers or times out
                    self._call_model(effect)
            case AskGate():
                await self._send(done, effect)
            case RunTool():
                done.deadline = done.deadline or _latest(effect)
                if effect.cancelling:
                    await self._cancel(done, effect)
                elif done.attempt > 1 or not effect.started:
                    await self._send(done, effect)
                # else it runs: silence will tell if it does not any more
            case AskApproval():
                if await self._ask(effect):
                    done.signed_at = _FOR_GOOD

    async def _ask(self, effect: AskApproval) -> bool:
        ticket = effect.ticket
        subject = self._ports.subjects.approval(ticket.session_id)
        try:
            await self._store(subject, ticket, ticket.approval_id)
        except Permanent as error:  # what cannot be asked is not approved
            _log.error("ticket %s cannot be asked for: %s", ticket.approval_id, error)
            denied = Resolution(
                approval_id=ticket.approval_id,
                decision=ApprovalDecision.DENIED,
                actor="kernel",
                reason=error.message,
            )
            self._post(ApprovalResolved(resolution=denied))
            return False
        return True

    def _message(self, done: _Performed, effect: AskGate | RunTool) -> tuple[str, GateRequest | ToolRequest]:
        """What is sent for it, and on which subject."""
        if isinstance(effect, AskGate):
            request = effect.request
            message = request if done.attempt == 1 else replace(request, attempt=done.attempt)
            return self._ports.subjects.gate(request.session_id), message
        definition = self._ports.toolbox.get(effect.call.tool_name)
        pool = definition.pool if definition is not None else DEFAULT_POOL
        done.priority = self._priority(done, effect)
        return self._ports.subjects.tool(pool, done.priority, effect.session_id), ToolRequest(
            effect_id=effect.effect_id,
            attempt=done.attempt,
            session_id=effect.session_id,
            branch_id=effect.branch_id,
            workspace_root=self._ports.settings.workspace(effect.session_id),
            call=effect.call,
            tool_run_id=effect.tool_run_id,
            deadline=effect.deadline,
            grant=effect.grant,
        )

    def _priority(self, done: _Performed, effect: RunTool) -> Priority:
        """Its tick's; while the session has a call of that in hand, one less.

        So whoever has many calls waits behind those that have one: it is their turn as often as anybody's.
        """
        in_hand = {other.priority for other in self._performed.values() if other is not done}
        return effect.priority.below if effect.priority in in_hand else effect.priority

    async def _send(self, done: _Performed, effect: AskGate | RunTool) -> None:
        subject, message = self._message(done, effect)
        data, headers = self._parcel(message, done, effect.branch_id)
        try:
            if done.attempt == 1:
                await self._ports.bus.publish(subject, data, headers=headers)
            else:
                self._tasks.start_soon(self._send_again, subject, data, headers)
        except Permanent as error:  # such as for its length: it will never be answered
            self._post(GiveUp(branch_id=effect.branch_id, reason=error.message))

    def _parcel(
        self, message: GateRequest | ToolRequest, done: _Performed, branch_id: str
    ) -> tuple[bytes, dict[str, str]]:
        headers = {"Nats-Msg-Id": f"{done.effect.effect_id}.{done.attempt}"}
        if done.attempt == 1:
            headers |= self._ports.answer_to(message)
        telemetry.inject(headers, self._traceparent(branch_id))
        return msgspec.json.encode(message), headers

    async def _send_again(self, subject: str, data: bytes, headers: dict[str, str]) -> None:
        try:
            await self._ports.bus.store(subject, data, headers=headers)
        except VagusError as error:
            _log.warning("%s was not stored and is sent again later: %s", subject, error)

    async def _store(self, subject: str, message: msgspec.Struct, msg_id: str) -> None:
        data = msgspec.json.encode(message)
        await self._patience.until(lambda: self._ports.bus.store(subject, data, msg_id=msg_id))

    # Ending tool runs -------------------------------------------------------------------------------------

    def _forget(self, done: _Performed) -> None:
        """It is owed no more; what still works on it is told to stop."""
        match done.effect:
            case CallModel(effect_id=effect_id):
                self._forget_model(effect_id)
            case RunTool() as effect if not done.ended:
                self._tasks.start_soon(self._abandon, effect)

    async def _cancel(self, done: _Performed, effect: RunTool) -> None:
        """Take the call's claim, so that it never starts; if a runner has it, tell the runner to stop."""
        done.cancelled_at = clock.now_ns()
        try:
            done.ended = await self._claim(effect) or done.ended
        except VagusError as error:
            _log.warning("cancelling tool run %s is tried again: %s", effect.tool_run_id, error)
            return
        if done.ended:
            self._post(ToolNeverRan(branch_id=effect.branch_id, tool_run_id=effect.tool_run_id))
        await self._ports.bus.publish(self._ports.subjects.cancel(effect.tool_run_id))

    async def _expire(self, effect: RunTool) -> None:
        """Nobody has reported in time. With the claim taken, it has not started and never will."""
        try:
            claimed = not await self._claim(effect)
        except VagusError as error:
            _log.warning("the deadline of tool run %s is told later: %s", effect.tool_run_id, error)
            return
        self._post(
            DeadlinePassed(branch_id=effect.branch_id, tool_run_id=effect.tool_run_id, claimed=claimed)
        )

    async def _abandon(self, effect: RunTool) -> None:
        """The turn has ended without it: it shall not start, or stop."""
        try:
            await self._claim(effect)
        except VagusError as error:
            _log.warning("tool run %s may still start: %s", effect.tool_run_id, error)
        await self._ports.bus.publish(self._ports.subjects.cancel(effect.tool_run_id))

    async def _claim(self, effect: RunTool) -> bool:
        """Whether the claim is ours, now or from before; else a runner has it.

        Tools that only read run without.
        """
        key = claim_key(effect.session_id, effect.tool_run_id)
        claim = Claim(holder=CANCELLED, taken_at=clock.now())
        try:
            await self._ports.calls.create(key, msgspec.json.encode(claim))
        except Conflict:
            found = await self._ports.calls.get(key, fresh=True)
            return found is not None and decode(found.value, Claim).holder == CANCELLED
        return True


def _latest(effect: RunTool) -> int:
    """When a tool run is given up that nobody has ended, nanoseconds."""
    return instants.parse(effect.deadline) + int(DEADLINE_GRACE_S * instants.SECOND_NS)
