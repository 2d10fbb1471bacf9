"""What becomes of each input of a session: decoded by its role, put in a lane, decided, replied to.

A tick or a ticket's resolution waits in its branch's lane while a turn is in progress there; everything else
is handled at once.
"""

import logging
from typing import TYPE_CHECKING

import msgspec
from msgspec.structs import replace

from vagus.contract import commands, limits
from vagus.contract.approvals import Resolution
from vagus.contract.commands import Command, Tick, decode_command
from vagus.contract.errors import Busy, Malformed, Refused, SessionNotFound, VagusError
from vagus.contract.ids import Mint
from vagus.contract.messages import Report, ReportType, Role, Verdict, decode
from vagus.contract.models import ModelRouting
from vagus.contract.outcome import tick_output
from vagus.contract.sessions import SessionManifest, TickOutput
from vagus.contract.subjects import Subjects
from vagus.runtime import clock, telemetry
from vagus.runtime.queue import Delivery, dead_letter
from vagus_kernel import inputs
from vagus_kernel.decide import Decision
from vagus_kernel.decide.branches import fork_point
from vagus_kernel.decide.tick import writable
from vagus_kernel.homeostasis import estimate_mode
from vagus_kernel.inputs import Input
from vagus_kernel.lanes import Held
from vagus_kernel.middleware import TurnContext
from vagus_kernel.onion import Begin, Done
from vagus_kernel.state import Branch, Gating, Session
from vagus_kernel.thinker import turn_context

if TYPE_CHECKING:
    from vagus_kernel.actor import Actor

_log = logging.getLogger(__name__)


class Cancelled(msgspec.Struct, frozen=True, kw_only=True):
    """The reply to Cancel."""

    running: int
    """Turns that are being ended."""
    waiting: int
    """Ticks that will not begin."""
    approvals: int
    """Tickets that were withdrawn."""


class Reception:
    """Of one actor."""

    def __init__(self, actor: "Actor") -> None:
        self._actor = actor
        self._deferred: list[tuple[Delivery, commands.MergeBranch | commands.Close]] = []

    def unsettled(self) -> list[Delivery]:
        """Commands that wait for turns to end."""
        return [delivery for delivery, _ in self._deferred]

    # Deliveries -------------------------------------------------------------------------------------------

    async def receive(self, delivery: Delivery) -> None:
        """Handle one message of the inbox."""
        role = Subjects.last_token(delivery.subject, 2)
        try:
            if delivery.deliveries >= limits.MAX_DELIVERIES:
                await self._give_up(delivery, role)
            elif role == Role.COMMAND:
                await self._command(delivery)
            elif role == Role.VERDICT:
                await self._verdict(delivery)
            elif role == Role.REPORT:
                await self._report(delivery)
            else:
                await self._resolution(delivery)
        except Malformed as error:
            await self._refuse_raw(delivery, error)
            await self._bury(delivery, error.message)
        except Refused as error:  # such as by the server, for a stream that it will not make
            await self._refuse_raw(delivery, error)
            await self._actor.settle(delivery)

    async def _bury(self, delivery: Delivery, reason: str) -> None:
        ports = self._actor.ports
        ports.keep_alive.drop(delivery)
        where = f"kernel.{self._actor.session_id}"
        await dead_letter(ports.bus, ports.subjects, where, delivery, reason)

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
        if role == Role.COMMAND:
            command = decode_command(delivery.data)
            branch = self._branch(command.branch_id)
            if branch is not None and branch.turn and branch.turn.command_id == command.command_id:
                await self._actor.apply(inputs.GiveUp(branch_id=branch.branch_id, reason=reason))
            await self._actor.say(command.reply_to, command.command_id, Refused(reason))
        elif role == Role.RESOLUTION:
            approval_id = decode(delivery.data, Resolution).approval_id
            for branch in self._actor.session.branches.values() if self._actor.session is not None else ():
                if branch.turn is not None and branch.turn.approval_id == approval_id:
                    await self._actor.apply(inputs.GiveUp(branch_id=branch.branch_id, reason=reason))
        await self._bury(delivery, reason)

    def _branch(self, branch_id: str) -> Branch | None:
        session = self._actor.session
        return session.branches.get(branch_id) if session is not None else None

    # Answers ----------------------------------------------------------------------------------------------

    async def answer(self, given: Input) -> None:
        """An answer to an effect. One that cannot be stored ends its turn instead."""
        refused = await self._actor.apply(given, traceparent=self._traceparent(given))
        if isinstance(refused, Refused | Malformed) and not isinstance(given, inputs.GiveUp):
            branch_id = self._branch_of(given)
            if branch_id is not None:
                await self._actor.apply(inputs.GiveUp(branch_id=branch_id, reason=refused.message))

    def _traceparent(self, given: Input) -> str | None:
        branch_id = self._branch_of(given)
        return self._actor.context_of(branch_id) if branch_id is not None else None

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

    async def _verdict(self, delivery: Delivery) -> None:
        verdict = decode(delivery.data, Verdict)
        self._actor.sign(verdict.effect_id)
        await self.answer(inputs.VerdictGiven(verdict=verdict, deadline=self._deadline(verdict.effect_id)))
        await self._actor.settle(delivery)

    def _deadline(self, effect_id: str) -> str:
        """When a call that is granted now must have ended."""
        session = self._actor.session
        branch = self._branch(self._waiting_for(effect_id) or "")
        seconds = session.policy.max_tool_runtime_secs if session is not None and session.policy else 30
        if branch is not None and branch.turn is not None and isinstance(branch.turn.stage, Gating):
            definition = self._actor.ports.toolbox.get(branch.turn.stage.call.tool_name)
            if definition is not None:
                seconds = min(seconds, definition.timeout_secs)
        return clock.plus(seconds)

    async def _report(self, delivery: Delivery) -> None:
        report = decode(delivery.data, Report)
        if report.type is ReportType.REPORT and report.report is None:
            raise Malformed("not a Report: type report without a report")
        self._actor.sign(report.effect_id)
        await self.answer(inputs.ToolReported(report=report))
        await self._actor.settle(delivery)

    async def _resolution(self, delivery: Delivery) -> None:
        resolution = decode(delivery.data, Resolution)
        session = self._actor.session
        held = self._held(delivery, resolution)
        for branch in session.branches.values() if session is not None else ():
            lane = self._actor.lane(branch.branch_id)
            if branch.turn is not None and branch.turn.approval_id == resolution.approval_id:
                await self._adopt(branch.branch_id, held)
                return
            if (known := lane.find(held.key)) is not None:
                self._actor.supersede(known, delivery)
                return
        found = session.waiting_for(resolution.approval_id) if session is not None else None
        if found is None:
            await self._actor.settle(delivery)
            return
        branch_id = found[0].branch_id
        lane = self._actor.lane(branch_id)
        if found[0].turn is not None or lane.occupied:
            lane.waiting.append(held)
        else:
            await self._begin(branch_id, held)

    def _held(self, delivery: Delivery, given: Tick | Resolution) -> Held:
        return Held(given, delivery, telemetry.extract(delivery.headers))

    async def _adopt(self, branch_id: str, held: Held) -> None:
        """The turn in progress is this input's, from before a crash or a lost connection."""
        lane = self._actor.lane(branch_id)
        again = lane.holder is None
        if lane.holder is not None:
            self._actor.supersede(lane.holder, held.delivery)
        else:
            lane.holder = held
        self._actor.spans(branch_id).begin(held.traceparent)
        session = self._actor.session
        if again and self._actor.onion and session is not None and isinstance(held.input, Tick):
            self._actor.onion.start(held, self._turn_context(session, branch_id, held.input))

    # Commands ---------------------------------------------------------------------------------------------

    async def _command(self, delivery: Delivery) -> None:
        command = decode_command(delivery.data)
        if command.session_id != Subjects.last_token(delivery.subject):
            raise Malformed("not a command to this session: session_id and subject differ")
        actor = self._actor
        if actor.session is None and not isinstance(command, commands.CreateSession):
            await self._refuse(delivery, command, SessionNotFound(f"session not found: {command.session_id}"))
            return
        match command:
            case Tick():
                await self._tick(delivery, command)
            case commands.CreateSession():
                await self._create(delivery, command)
            case commands.CreateBranch():
                await self._fork(delivery, command)
            case commands.RestoreCheckpoint():
                await self._restore(delivery, command)
            case commands.Cancel():
                await self._cancel(delivery, command)
            case commands.MergeBranch() | commands.Close():
                await self._merge_or_close(delivery, command)
            case _:
                await self._finish(delivery, command, await self._decided(delivery, command))

    async def _decided(self, delivery: Delivery, given: Input) -> msgspec.Struct | VagusError:
        decision = await self._actor.apply(given, traceparent=telemetry.extract(delivery.headers))
        if isinstance(decision, Decision) and decision.reply is not None:
            return decision.reply
        return decision if isinstance(decision, VagusError) else Refused("the command has no reply")

    async def _finish(
        self, delivery: Delivery, command: Command, answer: msgspec.Struct | VagusError
    ) -> None:
        await self._actor.say(command.reply_to, command.command_id, answer)
        await self._actor.settle(delivery)

    async def _refuse(self, delivery: Delivery, command: Command, error: VagusError) -> None:
        await self._finish(delivery, command, error)

    async def _create(self, delivery: Delivery, command: commands.CreateSession) -> None:
        actor, body = self._actor, command.create_session
        fresh = actor.session is None
        if fresh:
            await actor.ledger.create()
        mint = Mint(f"{command.session_id}/{command.command_id}".encode())
        manifest = SessionManifest(
            session_id=command.session_id,
            owner=body.owner,
            created_at=clock.now(),
            workspace_root=str(actor.ports.settings.sessions_root / command.session_id),
            model_routing=body.model_routing or ModelRouting(),
            policy=body.policy,
        )
        given = inputs.Create(command=command, manifest=manifest, agent_id=mint.uuid())
        answer = await self._decided(delivery, given)
        if fresh and not isinstance(answer, VagusError):
            await actor.make_workspace()
            await actor.projections.flush(actor.session, actor.ledger.stream_sequence, now=True)
        await self._finish(delivery, command, answer)

    async def _fork(self, delivery: Delivery, command: commands.CreateBranch) -> None:
        actor, given = self._actor, inputs.Fork(command=command)
        session = actor.session
        point = fork_point(session, given) if session is not None else 0
        if session is not None and isinstance(point, int):
            parent = session.branches[command.create_branch.from_branch]
            edge = parent.turn.first_sequence - 1 if parent.turn is not None else parent.head_sequence
            if point < edge:
                memory = await actor.ledger.memory_at(parent.branch_id, point)
                given = inputs.Fork(command=command, memory=memory)
        await self._finish(delivery, command, await self._decided(delivery, given))

    async def _restore(self, delivery: Delivery, command: commands.RestoreCheckpoint) -> None:
        checkpoint_id = command.restore_checkpoint.checkpoint_id
        try:
            sequence, memory = await self._actor.ledger.memory_of(command.branch_id, checkpoint_id)
        except VagusError as error:
            await self._refuse(delivery, command, error)
            return
        given = inputs.RestoreTo(command=command, sequence=sequence, memory=memory)
        await self._finish(delivery, command, await self._decided(delivery, given))

    async def _merge_or_close(
        self, delivery: Delivery, command: commands.MergeBranch | commands.Close
    ) -> None:
        """With cancel, whatever is in its way is ended first, and the command waits for that."""
        session = self._actor.session
        if session is None:
            return
        if isinstance(command, commands.MergeBranch):
            cancel, branches = command.merge_branch.cancel, [command.merge_branch.branch]
        else:
            cancel, branches = command.close.cancel, list(session.branches)
        if cancel:
            for branch_id in branches:
                await self._end_all(branch_id, command.actor)
            if any((b := self._branch(branch_id)) is not None and b.turn for branch_id in branches):
                self._deferred.append((delivery, command))
                return
        await self._finish(delivery, command, await self._decided(delivery, command))

    async def _cancel(self, delivery: Delivery, command: commands.Cancel) -> None:
        said = await self._end_all(command.branch_id, command.actor, command.cancel.command_id)
        await self._finish(delivery, command, said)

    async def _end_all(self, branch_id: str, actor: str, command_id: str | None = None) -> Cancelled:
        """End what runs, waits and asks on a branch; of one tick only, if its command is named."""
        lane, branch = self._actor.lane(branch_id), self._branch(branch_id)
        dropped = [
            held for held in lane.waiting if isinstance(held.input, Tick) and command_id in (None, held.key)
        ]
        for held in dropped:
            lane.waiting.remove(held)
            await self.reply(held.input, Refused("cancelled before it began"))
            await self._actor.settle(held.delivery)
        tickets = branch.pending if branch is not None else 0
        turn = branch.turn if branch is not None else None
        await self._actor.apply(
            inputs.CancelTurn(
                branch_id=branch_id, actor=actor, command_id=command_id, tickets=command_id is None
            )
        )
        branch = self._branch(branch_id)
        left = branch.pending if branch is not None else 0
        running = turn is not None and command_id in (None, turn.command_id)
        return Cancelled(running=int(running), waiting=len(dropped), approvals=tickets - left)

    # Ticks ------------------------------------------------------------------------------------------------

    async def _tick(self, delivery: Delivery, command: Tick) -> None:
        actor, session = self._actor, self._actor.session
        if session is None:
            return
        held, lane = self._held(delivery, _identified(command)), actor.lane(command.branch_id)
        branch = writable(session, command.branch_id)
        if isinstance(branch, VagusError):
            await self._refuse(delivery, command, branch)
        elif branch.turn is not None and branch.turn.command_id == held.key and not branch.turn.resumed:
            await self._adopt(command.branch_id, held)
        elif (known := lane.find(held.key)) is not None:
            actor.supersede(known, delivery)
        elif held.key in session.commands:
            await self._repeat(held, command)
        elif branch.turn is None and not lane.occupied:
            await self._begin(command.branch_id, held)
        elif lane.full:
            text = f"branch {command.branch_id} has {limits.QUEUED_TICKS} ticks waiting: try again later"
            await self._refuse(delivery, command, Busy(text))
        else:
            lane.waiting.append(held)

    async def _repeat(self, held: Held, command: Tick) -> None:
        """A tick that has ended: its reply was lost, and stands on the log."""
        events = await self._actor.find_tick(command.branch_id, held.key)
        output = tick_output(events) if events else None
        await self.reply(command, output or Refused(f"command {held.key} was handled before"))
        await self._actor.settle(held.delivery)

    async def _begin(self, branch_id: str, held: Held) -> None:
        """A turn's input is at the front of its lane."""
        actor, lane = self._actor, self._actor.lane(branch_id)
        given = held.input
        if isinstance(given, Resolution):
            await self._settle_refused(branch_id, held, inputs.ApprovalResolved(resolution=given))
        elif actor.onion and actor.session is not None:
            lane.holder = held
            actor.onion.start(held, self._turn_context(actor.session, branch_id, given))
        else:
            await self._settle_refused(branch_id, held, inputs.StartTick(command=given))

    def _turn_context(self, session: Session, branch_id: str, command: Tick) -> TurnContext:
        ctx = turn_context(session, branch_id, command.tick)
        threshold = self._actor.ports.config.circuit_breaker_errors
        ctx.mode = estimate_mode(ctx.state, ctx.pending_approvals, threshold)
        return ctx

    async def _settle_refused(self, branch_id: str, held: Held, given: Input) -> None:
        """Begin; if nothing came of it, the input is answered and done."""
        decision = await self._actor.apply(given, held=held)
        if isinstance(decision, VagusError):
            await self.reply(held.input, decision)
        if isinstance(decision, VagusError) or not decision.records:
            await self._actor.settle(held.delivery)
            await self.advance(branch_id)

    async def advance(self, branch_id: str) -> None:
        """The branch is idle: the next input begins, or what was put off for it."""
        lane, branch = self._actor.lane(branch_id), self._branch(branch_id)
        deferred, self._deferred = self._deferred, []
        for delivery, command in deferred:
            await self._merge_or_close(delivery, command)
        if lane.waiting and lane.holder is None and (branch is None or branch.turn is None):
            await self._begin(branch_id, lane.waiting.popleft())

    async def reply(self, given: Tick | Resolution, answer: TickOutput | VagusError) -> None:
        """Answer a turn's input; nobody waits for a resolution's."""
        if isinstance(given, Tick):
            await self._actor.say(given.reply_to, given.command_id, answer)

    # Middlewares ------------------------------------------------------------------------------------------

    async def begin(self, item: Begin) -> None:
        """The middlewares let a turn begin; or go on, if it had begun before a crash."""
        command = item.held.input
        if not isinstance(command, Tick):
            return
        lane, branch = self._actor.lane(command.branch_id), self._branch(command.branch_id)
        lane.guards, lane.pending = list(item.ctx.guards), item.pending
        if branch is not None and branch.turn is not None and branch.turn.command_id == command.command_id:
            return
        memory = branch.memory.vector if branch is not None else None
        given = inputs.StartTick(
            command=replace(command, tick=item.ctx.input),
            vector=item.ctx.state if item.ctx.state != memory else None,
            mode=item.ctx.mode if item.ctx.mode != item.estimate else None,
            guards=item.guards,
        )
        decision = await self._actor.apply(given, held=item.held)
        if isinstance(decision, VagusError) or not decision.records:
            lane.pending = None
            refused = decision if isinstance(decision, VagusError) else Refused("handled before")
            item.pending.settle(refused)

    async def done(self, item: Done) -> None:
        """The middlewares are through: their outcome is the tick's."""
        lane = self._actor.lane(item.branch_id)
        lane.holder, lane.guards = None, []
        await self.reply(item.held.input, item.outcome)
        await self._actor.settle(item.held.delivery)
        await self.advance(item.branch_id)


def _identified(command: Tick) -> Tick:
    """The tick with an id for the call that it proposes: the same one whenever it is delivered."""
    call = command.tick.proposed_tool
    if call is None or call.call_id:
        return command
    call = replace(call, call_id=Mint(command.command_id.encode()).uuid())
    return replace(command, tick=replace(command.tick, proposed_tool=call))


class _Envelope(msgspec.Struct, frozen=True, kw_only=True):
    command_id: str
    reply_to: str | None = None
