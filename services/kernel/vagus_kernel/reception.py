"""Where a session's inputs arrive: read by their role, given up when they came too often, or decided."""

from typing import TYPE_CHECKING

import msgspec

from vagus.contract import limits
from vagus.contract.approvals import ApprovalDecision, Resolution
from vagus.contract.commands import Command, decode_command
from vagus.contract.errors import Busy, Malformed, Permanent, Refused, SessionErased, VagusError
from vagus.contract.messages import Report, ReportType, Role, Verdict, decode
from vagus.contract.subjects import Subjects
from vagus.runtime import clock, telemetry
from vagus.runtime.queue import Delivery
from vagus_kernel import inputs
from vagus_kernel.desk import Desk
from vagus_kernel.handover import Handover
from vagus_kernel.inputs import Input
from vagus_kernel.onion import Begin, Done
from vagus_kernel.state import Gating
from vagus_kernel.turns import Advance, Turns

if TYPE_CHECKING:
    from vagus_kernel.actor import Actor, Item


class Reception:
    """Of one actor."""

    def __init__(self, actor: "Actor") -> None:
        self._actor = actor
        self.turns = Turns(actor)
        self._desk = Desk(actor, self.turns)

    async def handle(self, item: "Item") -> None:
        """Handle one item of the mailbox."""
        match item:
            case Delivery():
                await self._receive(item)
            case Verdict():
                if not await self._judged(item):
                    telemetry.record_late(Role.VERDICT)
            case Handover():
                await self._handed(item)
            case Begin():
                await self.turns.begin(item)
            case Done():
                await self.turns.done(item)
            case Advance(branch_id=branch_id):
                await self._desk.resume()
                await self.turns.advance(branch_id)
            case _:
                await self._answer(item)

    # Deliveries -------------------------------------------------------------------------------------------

    async def _receive(self, delivery: Delivery) -> None:
        role = Subjects.last_token(delivery.subject, 2)
        try:
            if await delivery.worn_out():
                await self._give_up(delivery, role)
            elif role == Role.COMMAND:
                await self._command(delivery)
            elif role == Role.VERDICT:
                await self._verdict(delivery)
            elif role == Role.REPORT:
                await self._report(delivery)
            else:
                await self.turns.resolution(delivery, decode(delivery.data, Resolution))
        except Malformed as error:
            await self._refuse_raw(delivery, error)
            await self._actor.bury(delivery, error.message)
        except Permanent as error:  # such as by the server, for a stream that it will not make
            await self._actor.be_current()
            await self._refuse_raw(delivery, error)
            await self._actor.settle(delivery)

    async def _refuse_raw(self, delivery: Delivery, error: VagusError) -> None:
        """Reply to a command that could not be read, if it says where to."""
        try:
            envelope = msgspec.json.decode(delivery.data, type=_Envelope)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
            return
        await self._actor.say(envelope.reply_to, envelope.command_id, error)

    async def _give_up(self, delivery: Delivery, role: str) -> None:
        """It was delivered too often: something about it ends its owners."""
        reason = f"given up after {delivery.deliveries} deliveries"
        if isinstance(self._actor.ledger.missing, SessionErased):  # nothing of it is kept for people
            await (self._command(delivery) if role == Role.COMMAND else self._actor.settle(delivery))
            return
        if role == Role.COMMAND:
            command = decode_command(delivery.data)
            if self._was_handled(command) and delivery.deliveries < 2 * limits.MAX_DELIVERIES:
                await self._command(delivery)  # only its reply or its ack was lost, however often
                return
            await self.turns.give_up(command.branch_id, command.command_id, reason)
            await self._actor.be_current()
            await self._actor.say(command.reply_to, command.command_id, Refused(reason))
        elif role == Role.RESOLUTION:
            resolution = decode(delivery.data, Resolution)
            session = self._actor.session
            for branch_id in session.branches if session is not None else ():
                await self.turns.give_up(branch_id, resolution.approval_id, reason)
            refusal = Resolution(
                approval_id=resolution.approval_id,
                decision=ApprovalDecision.DENIED,
                actor="kernel",
                reason=reason,
            )
            if isinstance(await self._actor.apply(inputs.ApprovalResolved(resolution=refusal)), Busy):
                await self.turns.resolution(delivery, resolution)  # it was only ever waiting
                return
        await self._actor.be_current()
        await self._actor.bury(delivery, reason)

    def _was_handled(self, command: Command) -> bool:
        session = self._actor.session
        return session is not None and command.command_id in session.commands

    async def _command(self, delivery: Delivery) -> None:
        command = decode_command(delivery.data)
        if command.session_id != self._actor.session_id:
            raise Malformed("not a command to this session: session_id and subject differ")
        await self._desk.handle(delivery, command)

    # Answers ----------------------------------------------------------------------------------------------

    async def _verdict(self, delivery: Delivery) -> None:
        late = not await self._judged(decode(delivery.data, Verdict))
        await self._settle(delivery, Role.VERDICT, late=late)

    async def _judged(self, verdict: Verdict) -> bool:
        """A verdict, whichever way it came; returns whether somebody waited for it."""
        self._actor.sign(verdict.effect_id)
        waited = self._waiting_for(verdict.effect_id) is not None
        await self._answer(inputs.VerdictGiven(verdict=verdict, deadline=self._deadline(verdict.effect_id)))
        return waited

    async def _report(self, delivery: Delivery) -> None:
        late = not await self._reported(decode(delivery.data, Report))
        await self._settle(delivery, Role.REPORT, late=late)

    async def _handed(self, handover: Handover) -> None:
        """A report that came straight. What the inbox does better with it, the runner stores there."""
        try:
            late = not await self._reported(handover.report())
            await self._actor.be_current()
        except Permanent:
            handover.refuse()
            return
        handover.take()
        if late:
            telemetry.record_late(Role.REPORT)

    async def _reported(self, report: Report) -> bool:
        """A report, whichever way it came; returns whether somebody waited for it."""
        if report.type is ReportType.REPORT and report.report is None:
            raise Malformed("not a Report: type report without a report")
        self._actor.sign(report.effect_id, ended=report.type is not ReportType.STARTED)
        waited = self._waiting_for(report.effect_id) is not None
        await self._answer(inputs.ToolReported(report=report))
        return waited

    async def _settle(self, delivery: Delivery, role: Role, *, late: bool) -> None:
        """Ack an answer. One to what has ended is not logged, but counted."""
        await self._actor.settle(delivery)
        if late:
            telemetry.record_late(role)

    async def _answer(self, given: Input) -> None:
        """An answer to an effect. One that cannot be stored ends its turn instead."""
        branch_id = self._branch_of(given)
        refused = await self._actor.apply(
            given,
            report=given.report.report if isinstance(given, inputs.ToolReported) else None,
            traceparent=self._actor.context_of(branch_id) if branch_id is not None else None,
        )
        if (
            isinstance(refused, Refused | Malformed)
            and not isinstance(given, inputs.GiveUp)
            and branch_id is not None
        ):
            await self._actor.apply(inputs.GiveUp(branch_id=branch_id, reason=refused.message))

    def _branch_of(self, given: Input) -> str | None:
        match given:
            case (
                inputs.ModelAnswer(branch_id=branch_id)
                | inputs.DeadlinePassed(branch_id=branch_id)
                | inputs.ToolNeverRan(branch_id=branch_id)
                | inputs.GiveUp(branch_id=branch_id)
            ):
                return branch_id
            case inputs.VerdictGiven(verdict=Verdict(effect_id=effect_id)):
                return self._waiting_for(effect_id)
            case inputs.ToolReported(report=Report(effect_id=effect_id)):
                return self._waiting_for(effect_id)
        return None

    def _waiting_for(self, effect_id: str) -> str | None:
        session = self._actor.session
        for branch in session.branches.values() if session is not None else ():
            if branch.turn is not None and getattr(branch.turn.stage, "effect_id", None) == effect_id:
                return branch.branch_id
        return None

    def _deadline(self, effect_id: str) -> str:
        """When a call that is granted now must have ended."""
        session = self._actor.session
        branch = session.branches.get(self._waiting_for(effect_id) or "") if session is not None else None
        seconds = session.policy.max_tool_runtime_secs if session is not None and session.policy else 30
        if branch is not None and branch.turn is not None and isinstance(branch.turn.stage, Gating):
            definition = self._actor.ports.toolbox.get(branch.turn.stage.call.tool_name)
            if definition is not None:
                seconds = min(seconds, definition.timeout_secs)
        return clock.plus(seconds)


class _Envelope(msgspec.Struct, frozen=True, kw_only=True):
    command_id: str
    reply_to: str | None = None
