"""A session's turns: which input begins one, who is replied to at its end, and what middlewares make of it.

A tick or a ticket's resolution waits in its branch's lane while another is at work there.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING

import msgspec
from msgspec.structs import replace

from vagus.contract import limits
from vagus.contract.approvals import Resolution
from vagus.contract.commands import Tick
from vagus.contract.errors import BranchReadOnly, Busy, Interrupted, NotFound, Refused, VagusError
from vagus.contract.events import EventRecord
from vagus.contract.ids import Mint
from vagus.contract.messages import Role
from vagus.contract.outcome import tick_output
from vagus.contract.sessions import TickOutput
from vagus.contract.state import AgentStateVector
from vagus.runtime import telemetry
from vagus.runtime.queue import Delivery
from vagus_kernel import inputs
from vagus_kernel.calendar import Calendar
from vagus_kernel.decide import Decision
from vagus_kernel.decide.tick import writable
from vagus_kernel.homeostasis import estimate_mode
from vagus_kernel.inputs import Input
from vagus_kernel.lanes import Held, Lane
from vagus_kernel.onion import Begin, Done
from vagus_kernel.state import Branch, Turn
from vagus_kernel.thinker import turn_context

if TYPE_CHECKING:
    from vagus_kernel.actor import Actor


@dataclass(slots=True, frozen=True)
class Advance:
    """Nothing is at work on a branch any more: what waits for that may begin."""

    branch_id: str


class Turns:
    """Of one actor."""

    def __init__(self, actor: "Actor") -> None:
        self._actor = actor
        self.calendar = Calendar(actor.session_id, actor.ports.bus, actor.ports.subjects)

    # Inputs -----------------------------------------------------------------------------------------------

    async def tick(self, delivery: Delivery, command: Tick) -> None:
        """A tick has come: for the first time, or again."""
        session = self._actor.session
        if session is None:
            return
        branch = writable(session, command.branch_id)
        held = Held(_identified(command), delivery)
        if isinstance(branch, VagusError):
            if held.key in session.commands and command.branch_id in session.branches:
                await self.answer(held, await self._ended_before(command.branch_id, held.key))
            else:
                await self.refuse(held, branch)
            return
        lane = self._actor.lane(command.branch_id)
        if (known := lane.find(held.key)) is not None:
            self._again(known, held)
        elif branch.turn is not None and branch.turn.command_id == held.key and not branch.turn.resumed:
            self._adopt(branch, held)
        elif held.key in session.commands:
            await self.answer(held, await self._ended_before(command.branch_id, held.key))
        elif held.schedule is not None and any(other.schedule == held.schedule for other in lane.waiting):
            await self._settle(held)  # that one has not begun yet, and stands for both
        elif lane.full:
            text = f"branch {command.branch_id} has {limits.QUEUED_TICKS} ticks waiting: try again later"
            await self.refuse(held, Busy(text))
        else:
            lane.waiting.append(held)
            await self.advance(command.branch_id)

    async def resolution(self, delivery: Delivery, resolution: Resolution) -> None:
        """A ticket has ended: its last approval resumes a call, anything else ends it."""
        session = self._actor.session
        held = Held(resolution, delivery)
        for branch in session.branches.values() if session is not None else ():
            lane = self._actor.lanes.get(branch.branch_id)
            if lane is not None and (known := lane.find(held.key)) is not None:
                self._again(known, held)
                return
            if branch.turn is not None and branch.turn.approval_id == held.key:
                self._adopt(branch, held)
                return
        found = session.waiting_for(held.key) if session is not None else None
        if found is None:
            await self._actor.settle(delivery)
            telemetry.record_late(Role.RESOLUTION)
            return
        branch_id = found[0].branch_id
        self._actor.lane(branch_id).waiting.append(held)
        await self.advance(branch_id)

    async def give_up(self, branch_id: str, key: str, reason: str) -> None:
        """An input was delivered too often; if a turn is its, that is ended."""
        lane, branch = self._actor.lanes.get(branch_id), self._branch(branch_id)
        if lane is not None and (known := lane.find(key)) is not None:
            self._actor.onion.cancel(key)
            for delivery in known.deliveries:
                self._actor.forget(delivery)
            if known is lane.holder:
                lane.free()
                self._actor.put(Advance(branch_id))
            else:
                lane.waiting.remove(known)
        turn = branch.turn if branch is not None else None
        if turn is not None and key == (turn.approval_id if turn.resumed else turn.command_id):
            await self._actor.apply(inputs.GiveUp(branch_id=branch_id, reason=reason))

    def drop(self, branch_id: str, command_id: str | None) -> tuple[list[Held], tuple[str, ...]]:
        """Take out the ticks that have not begun, or the one with that id: those to be answered, and all ids.

        One that middlewares hold is answered when they have let go of it.
        """
        lane = self._actor.lanes.get(branch_id)
        if lane is None:
            return [], ()
        dropped = [
            held for held in lane.waiting if isinstance(held.input, Tick) and command_id in (None, held.key)
        ]
        for held in dropped:
            lane.waiting.remove(held)
        ids = tuple(held.key for held in dropped)
        holder, branch = lane.holder, self._branch(branch_id)
        if holder is None or command_id not in (None, holder.key):
            return dropped, ids
        turn = branch.turn if branch is not None else None
        begun = turn is not None or lane.outcome is not None  # and middlewares run once more, after a crash
        if not begun and self._actor.onion.cancel(holder.key):
            ids = (holder.key, *ids)
        return dropped, ids

    def _again(self, known: Held, held: Held) -> None:
        """It is at work or waits here already: a redelivery takes its place, a copy joins it."""
        for same in (known, *known.copies):
            if same.delivery.stream_sequence == held.delivery.stream_sequence:
                self._actor.supersede(same, held.delivery)
                return
        known.copies.append(held)

    def _adopt(self, branch: Branch, held: Held) -> None:
        """The turn in progress is this input's, from before a crash."""
        lane, session = self._actor.lane(branch.branch_id), self._actor.session
        lane.holder = held
        self._actor.spans(branch.branch_id).begin(held.traceparent)
        if self._actor.onion and session is not None and isinstance(held.input, Tick):
            self._wrap(lane, branch, held, held.input)

    # Begin ------------------------------------------------------------------------------------------------

    async def advance(self, branch_id: str) -> None:
        """Let the next input begin, if the branch is idle."""
        lane, branch = self._actor.lane(branch_id), self._branch(branch_id)
        if not lane.waiting or lane.holder is not None or branch is None or branch.turn is not None:
            return
        held = lane.holder = lane.waiting.popleft()
        if isinstance(held.input, Resolution):
            await self._start(lane, branch_id, held, inputs.ApprovalResolved(resolution=held.input))
        elif self._actor.onion:
            self._wrap(lane, branch, held, held.input)
        else:
            await self._start(lane, branch_id, held, inputs.StartTick(command=held.input))

    async def _start(self, lane: Lane, branch_id: str, held: Held, given: Input) -> None:
        """If nothing comes of it, the input is answered and done."""
        decision = await self._begin_turn(branch_id, held, given)
        if isinstance(decision, VagusError) or not decision.records:
            lane.free()
            if isinstance(decision, VagusError):
                await self.refuse(held, decision)
            else:
                await self.answer(held, await self._ended_before(branch_id, held.key))
                if isinstance(held.input, Resolution):
                    telemetry.record_late(Role.RESOLUTION)
            self._actor.put(Advance(branch_id))

    async def _begin_turn(self, branch_id: str, held: Held, given: Input) -> Decision | VagusError:
        """Decide a turn's input within the turn's span, so that its first events carry the trace as well."""
        spans = self._actor.spans(branch_id)
        spans.begin(held.traceparent)
        decision = await self._actor.apply(given, held=held, traceparent=spans.context)
        if isinstance(decision, VagusError) or not decision.records:
            spans.end()
        return decision

    def _wrap(self, lane: Lane, branch: Branch, held: Held, command: Tick) -> None:
        session = self._actor.session
        if session is None:
            return
        lane.wrapped = True
        ctx = turn_context(session, branch.branch_id, command.tick)
        threshold = self._actor.ports.config.circuit_breaker_errors
        ctx.mode = estimate_mode(ctx.state, ctx.pending_approvals, threshold)
        self._actor.onion.start(held, ctx)

    # End --------------------------------------------------------------------------------------------------

    async def ended(self, branch_id: str, turn: Turn | None) -> None:
        """A turn's last event is committed: reply, ack, and let the next input begin.

        `turn` is None if it began and ended in one commit.
        """
        lane = self._actor.lane(branch_id)
        output = tick_output(await self._events(branch_id, lane, turn))
        self._actor.spans(branch_id).end(finished=True)
        if lane.wrapped:  # the middlewares go on, and give the reply
            lane.events = []
            outcome = output or Interrupted("the turn has no end on the log")
            if lane.pending is not None:
                lane.pending.settle(outcome)
            else:
                lane.outcome = outcome
            return
        said = lane.outcome or output
        holder = lane.free()
        if holder is not None:
            if said is not None:
                await self._reply(holder, said)
            await self._settle(holder)
        self._actor.put(Advance(branch_id))

    async def _events(self, branch_id: str, lane: Lane, turn: Turn | None) -> list[EventRecord]:
        """The turn's events: those this kernel wrote, and before them those of the one that began it."""
        ours = lane.events
        if turn is None or (ours and ours[0].sequence <= turn.first_sequence):
            return ours
        before = ours[0].sequence if ours else None
        ledger = self._actor.ledger
        earlier = await ledger.events_of(branch_id, turn.command_id, first=turn.first_sequence, before=before)
        return [*earlier, *ours]

    async def _ended_before(self, branch_id: str, key: str) -> TickOutput | VagusError:
        """What became of a tick that was handled before: its reply was lost, and stands on the log."""
        events = await self._actor.ledger.find_tick(branch_id, key)
        return (tick_output(events) if events else None) or Refused(f"command {key} was handled before")

    async def answer(self, held: Held, answer: TickOutput | VagusError) -> None:
        """Answer an input that begins no turn."""
        await self._actor.be_current()
        await self._reply(held, answer)
        await self._settle(held)

    async def refuse(self, held: Held, error: VagusError) -> None:
        """Refuse an input. Nobody hears that of a scheduled tick, so people find it among the dead letters.

        Its schedule is dropped if it can only ever be refused.
        """
        schedule_id = held.schedule
        if schedule_id is None:
            await self.answer(held, error)
            return
        await self._actor.be_current()
        reason = f"schedule {schedule_id}: {error.type}: {error.message}"
        if isinstance(error, NotFound | BranchReadOnly):
            await self.calendar.drop(schedule_id)
            reason = f"{reason}; it is dropped"
        for delivery in held.deliveries:
            await self._actor.bury(delivery, reason)

    async def _settle(self, held: Held, *, sure: bool = False) -> None:
        for delivery in held.deliveries:
            await self._actor.settle(delivery, sure=sure)

    async def _reply(self, held: Held, answer: msgspec.Struct | VagusError) -> None:
        for address in held.reply_to:
            await self._actor.say(address, held.key, answer)

    def _branch(self, branch_id: str) -> Branch | None:
        session = self._actor.session
        return session.branches.get(branch_id) if session is not None else None

    # Middlewares ------------------------------------------------------------------------------------------

    async def begin(self, item: Begin) -> None:
        """The middlewares let a turn begin; or go on, if it had begun before a crash."""
        command = item.held.input
        if not isinstance(command, Tick):
            return
        lane, branch = self._actor.lane(command.branch_id), self._branch(command.branch_id)
        if lane.holder is not item.held or branch is None:
            item.pending.settle(Interrupted("the turn is not at work here any more"))
            return
        lane.guards = list(item.ctx.guards)
        if lane.outcome is not None:
            item.pending.settle(lane.outcome)
            return
        lane.pending = item.pending
        if branch.turn is not None:
            return
        patched = _changes(item.state, item.ctx.state)
        given = inputs.StartTick(
            command=replace(command, tick=item.ctx.input),
            vector=replace(branch.memory.vector, **patched) if patched else None,
            mode=item.ctx.mode if patched or item.ctx.mode != item.estimate else None,
            guards=item.guards,
        )
        decision = await self._begin_turn(command.branch_id, item.held, given)
        if isinstance(decision, VagusError):
            item.pending.settle(decision)
        elif not decision.records:
            item.pending.settle(await self._ended_before(command.branch_id, command.command_id))

    async def done(self, item: Done) -> None:
        """The middlewares are through: their outcome is the tick's."""
        lane, branch = self._actor.lane(item.branch_id), self._branch(item.branch_id)
        if lane.holder is not item.held:
            return
        turn = branch.turn if branch is not None else None
        if turn is not None and turn.command_id == item.held.key and not turn.resumed:
            # they did not wait for its end
            lane.wrapped, lane.pending, lane.outcome = False, None, item.outcome
            reason = item.outcome.message if isinstance(item.outcome, VagusError) else "left by a middleware"
            await self._actor.apply(inputs.GiveUp(branch_id=item.branch_id, reason=reason))
            return
        lane.free()
        if isinstance(item.outcome, TickOutput):
            await self._reply(item.held, item.outcome)
            await self._settle(item.held, sure=True)
        else:
            await self.refuse(item.held, item.outcome)
        self._actor.put(Advance(item.branch_id))


def _changes(shown: AgentStateVector, left: AgentStateVector) -> dict[str, object]:
    """What middlewares have changed of the state they were shown: only that, since it may have moved on."""
    told = msgspec.structs.asdict(shown)
    return {name: value for name, value in msgspec.structs.asdict(left).items() if value != told[name]}


def _identified(command: Tick) -> Tick:
    """The tick with an id for the call that it proposes: the same one whenever it is delivered."""
    call = command.tick.proposed_tool
    if call is None or call.call_id:
        return command
    call = replace(call, call_id=Mint(command.command_id.encode()).uuid())
    return replace(command, tick=replace(command.tick, proposed_tool=call))
