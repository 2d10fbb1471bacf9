"""Performs what the state owes: once at first, and again when no answer came.

What is owed is asked of `react` after every commit; what was performed is remembered by effect id. Requests
to the gate and to runners are sent without waiting for an ack, since they are repeated until they are
answered.
"""

import logging
from collections.abc import Callable
from dataclasses import dataclass

import msgspec
from anyio.abc import TaskGroup
from msgspec.structs import replace

from vagus.contract import clock as instants
from vagus.contract.approvals import TicketState
from vagus.contract.claims import CANCELLED, Claim, claim_key
from vagus.contract.errors import Conflict, VagusError
from vagus.contract.limits import DEADLINE_GRACE_S
from vagus.contract.messages import ToolRequest
from vagus.contract.tools import DEFAULT_POOL
from vagus.runtime import clock, telemetry
from vagus_kernel.effects import AskApproval, AskGate, CallModel, Owed, RunTool, WithdrawTicket
from vagus_kernel.inputs import DeadlinePassed, ToolNeverRan
from vagus_kernel.ports import Ports
from vagus_kernel.react import react
from vagus_kernel.state import Session

_log = logging.getLogger(__name__)

PRIORITY = "normal"
"""Of every tool request, until sessions may say otherwise."""


_FOR_GOOD = 2**63
"""A ticket that is stored needs no repetition."""


@dataclass(slots=True)
class _Performed:
    effect: Owed
    attempt: int
    signed_at: int
    """When it was last performed, or a sign of its being worked on came; nanoseconds."""
    deadline: int | None = None
    cancel_sent: bool = False


class Performer:
    """The effects of one session."""

    def __init__(
        self,
        ports: Ports,
        tasks: TaskGroup,
        *,
        call_model: Callable[[CallModel], None],
        post: Callable[[DeadlinePassed | ToolNeverRan], None],
        traceparent: Callable[[str], str | None],
    ) -> None:
        self._ports = ports
        self._tasks = tasks
        self._call_model = call_model
        self._post = post
        self._traceparent = traceparent
        self._performed: dict[str, _Performed] = {}
        self._waiting = 0

    @property
    def busy(self) -> bool:
        """Whether anything is owed."""
        asked = (done.signed_at == _FOR_GOOD for done in self._performed.values())
        return not all(asked) or self._waiting > 0

    async def reconcile(self, session: Session | None) -> None:
        """Perform what is newly owed, and forget what no longer is."""
        if session is None:
            return
        timeout_s = self._ports.settings.approval_timeout_s
        owed = {effect.effect_id: effect for effect in react(session, approval_timeout_s=timeout_s)}
        for effect_id in [known for known in self._performed if known not in owed]:
            del self._performed[effect_id]
        running = sum(isinstance(done.effect, RunTool) for done in self._performed.values())
        self._waiting = 0
        for effect_id, effect in owed.items():
            done = self._performed.get(effect_id)
            if done is None:
                if isinstance(effect, RunTool) and not effect.cancelling:
                    if running >= self._ports.settings.session_inflight:
                        self._waiting += 1
                        continue
                    running += 1
                done = self._performed[effect_id] = _Performed(effect, 0, clock.now_ns())
                await self._perform(done)
            elif isinstance(effect, RunTool) and effect.cancelling and not done.cancel_sent:
                done.effect = effect
                await self._cancel(done, effect)

    def sign(self, effect_id: str) -> None:
        """A sign that the effect is being worked on: a verdict or report, or a running tool's heartbeat."""
        done = self._performed.get(effect_id)
        if done is not None:
            done.signed_at = clock.now_ns()

    async def on_clock(self, now_ns: int, *, reconnected: bool = False) -> None:
        """Repeat what has been silent for too long, and tell which deadlines have passed."""
        silence = int(self._ports.settings.effect_retry * instants.SECOND_NS)
        for done in list(self._performed.values()):
            if done.deadline is not None and now_ns > done.deadline and isinstance(done.effect, RunTool):
                done.deadline = now_ns + silence
                self._post(
                    DeadlinePassed(branch_id=done.effect.branch_id, tool_run_id=done.effect.tool_run_id)
                )
            elif reconnected or now_ns - done.signed_at > silence:
                await self._perform(done)

    async def withdraw(self, effect: WithdrawTicket) -> None:
        """Tell the approver that nobody need answer any more."""
        ticket = effect.ticket
        await self._store(
            self._ports.subjects.approval(ticket.session_id),
            replace(ticket, state=TicketState.WITHDRAWN),
            f"{ticket.approval_id}.withdrawn",
        )

    async def _perform(self, done: _Performed) -> None:
        done.attempt += 1
        done.signed_at = clock.now_ns()
        effect = done.effect
        match effect:
            case CallModel():
                if done.attempt == 1:  # it runs in this process until it answers or times out
                    self._call_model(effect)
            case AskGate(request=request):
                message = request if done.attempt == 1 else replace(request, attempt=done.attempt)
                subject = self._ports.subjects.gate(request.session_id)
                await self._send(subject, message, done, effect.branch_id)
            case RunTool():
                if done.deadline is None:
                    grace = int(DEADLINE_GRACE_S * instants.SECOND_NS)
                    done.deadline = instants.parse(effect.deadline) + grace
                if effect.cancelling:
                    await self._cancel(done, effect)
                else:
                    await self._run_tool(done, effect)
            case AskApproval(ticket=ticket):
                subject = self._ports.subjects.approval(ticket.session_id)
                if await self._store(subject, ticket, ticket.approval_id):
                    done.signed_at = _FOR_GOOD

    async def _run_tool(self, done: _Performed, effect: RunTool) -> None:
        definition = self._ports.toolbox.get(effect.call.tool_name)
        pool = definition.pool if definition is not None else DEFAULT_POOL
        session_id = effect.session_id
        request = ToolRequest(
            effect_id=effect.effect_id,
            attempt=done.attempt,
            session_id=session_id,
            branch_id=effect.branch_id,
            workspace_root=str(self._ports.settings.sessions_root / session_id),
            call=effect.call,
            tool_run_id=effect.tool_run_id,
            deadline=effect.deadline,
            grant=effect.grant,
        )
        subject = self._ports.subjects.tool(pool, PRIORITY, session_id)
        await self._send(subject, request, done, effect.branch_id)

    async def _send(self, subject: str, message: msgspec.Struct, done: _Performed, branch_id: str) -> None:
        headers = {"Nats-Msg-Id": f"{done.effect.effect_id}.{done.attempt}"}
        telemetry.inject(headers, self._traceparent(branch_id))
        data = msgspec.json.encode(message)
        bus = self._ports.bus
        if done.attempt == 1:
            await bus.publish(subject, data, headers=headers)
        else:
            self._tasks.start_soon(self._store_raw, subject, data, headers)

    async def _store(self, subject: str, message: msgspec.Struct, msg_id: str) -> bool:
        return await self._store_raw(subject, msgspec.json.encode(message), {"Nats-Msg-Id": msg_id})

    async def _store_raw(self, subject: str, data: bytes, headers: dict[str, str]) -> bool:
        """Whether it is stored; if not, the effect is performed again after its silence."""
        try:
            await self._ports.bus.store(subject, data, headers=headers)
        except VagusError as error:
            _log.warning("%s was not stored and is sent again later: %s", subject, error)
            return False
        return True

    async def _cancel(self, done: _Performed, effect: RunTool) -> None:
        """Take the call's claim, so that it never starts; if a runner has it, tell the runner to stop."""
        done.cancel_sent = True
        claim = msgspec.json.encode(Claim(holder=CANCELLED, taken_at=clock.now()))
        try:
            await self._ports.calls.create(claim_key(effect.session_id, effect.tool_run_id), claim)
        except Conflict:
            pass
        except VagusError as error:
            done.cancel_sent = False
            _log.warning("cancelling tool run %s is tried again: %s", effect.tool_run_id, error)
            return
        else:
            self._post(ToolNeverRan(branch_id=effect.branch_id, tool_run_id=effect.tool_run_id))
        await self._ports.bus.publish(self._ports.subjects.cancel(effect.tool_run_id))
