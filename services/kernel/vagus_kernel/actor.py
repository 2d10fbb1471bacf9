"""The actor of one session: takes its inputs one at a time, decides, commits, performs what is owed, acks.

An input is acked after its commit; the one that starts a turn stays unacked until the turn's end is
committed. When somebody else has written to the log, this actor knows nothing any more: it drops everything,
unacked.
"""

import logging
import secrets
from collections import deque
from typing import Final, TypeAlias

import anyio
import msgspec
from anyio.abc import TaskGroup
from anyio.to_thread import run_sync

from vagus.contract import limits
from vagus.contract.clock import SECOND_NS, parse
from vagus.contract.commands import Reply
from vagus.contract.errors import (
    Busy,
    Conflict,
    ErrorInfo,
    Interrupted,
    Malformed,
    OutcomeUnknown,
    Refused,
    Unavailable,
    VagusError,
)
from vagus.contract.events import EventRecord
from vagus.contract.outcome import tick_output
from vagus.contract.subjects import Subjects
from vagus.contract.tools import ToolExecutionReport
from vagus.runtime import clock, telemetry
from vagus.runtime.faults import hit
from vagus.runtime.queue import Delivery
from vagus_kernel import inputs
from vagus_kernel.decide import Decision, Rejected, decide
from vagus_kernel.effects import CallModel
from vagus_kernel.inputs import Context, Input
from vagus_kernel.lanes import Held, Lane
from vagus_kernel.ledger import Ledger
from vagus_kernel.middleware import Guard
from vagus_kernel.onion import Begin, Done, Onion
from vagus_kernel.performer import Performer
from vagus_kernel.ports import Ports
from vagus_kernel.projections import Projections
from vagus_kernel.reception import Reception
from vagus_kernel.spans import TurnSpans
from vagus_kernel.state import Session, Turn
from vagus_kernel.thinker import Thinker
from vagus_kernel.workspace import files_of, initialise

_log = logging.getLogger(__name__)

PATIENCE_S: Final = 60.0
"""How long a commit is tried while the server cannot be reached."""
RETRY_S: Final = 0.25
BACK_AFTER_S: Final = 0.5
"""When inputs that could not be handled now come again."""
PAGE_EVENTS: Final = 500
CLOCK_S: Final = 1.0
"""How often a session that waits for something looks at the clock."""

Item: TypeAlias = Delivery | Input | Begin | Done


class Actor:
    """One session. `run` ends when the actor was asked to stop, or lost the session to another kernel."""

    def __init__(self, session_id: str, ports: Ports) -> None:
        self.session_id = session_id
        self.ports = ports
        self.ledger = Ledger(session_id, ports.log, ports.snapshots)
        self.projections = Projections(ports, session_id)
        self.lanes: dict[str, Lane] = {}
        self.touched_at = 0.0
        """When it last did something, on the event loop's clock."""
        self._reception = Reception(self)
        self._mailbox: deque[Item] = deque()
        self._arrived = anyio.Event()
        self._stopping = False
        self._reconnected = False
        self._back_after_s = 0.0
        self._spans: dict[str, TurnSpans] = {}
        self._performer: Performer | None = None
        self._thinker: Thinker
        self.onion: Onion

    # Mailbox ----------------------------------------------------------------------------------------------

    def put(self, item: Item) -> None:
        """Take an input; it is handled in its turn."""
        if isinstance(item, Delivery):
            self.ports.keep_alive.hold(item)
        self._mailbox.append(item)
        self._arrived.set()

    def stop(self) -> None:
        """Finish the input in hand, then end; what is unacked goes back to the queue."""
        self._stopping = True
        self._arrived.set()

    def on_reconnect(self) -> None:
        """The connection is back: what was sent may be lost, so everything owed is performed again."""
        self._reconnected = True
        self._arrived.set()

    @property
    def stopping(self) -> bool:
        """Whether it takes no more inputs."""
        return self._stopping

    @property
    def busy(self) -> bool:
        """Whether anything waits, is held or is owed."""
        owed = self._performer is None or self._performer.busy
        owed = owed or bool(self._reception.unsettled())
        return owed or bool(self._mailbox) or any(lane.held() for lane in self.lanes.values())

    @property
    def session(self) -> Session | None:
        """The state, None if the session does not exist."""
        return self.ledger.session

    def lane(self, branch_id: str) -> Lane:
        """The branch's lane."""
        lane = self.lanes.get(branch_id)
        if lane is None:
            lane = self.lanes[branch_id] = Lane()
        return lane

    # Life -------------------------------------------------------------------------------------------------

    async def run(self) -> None:
        """Load the session, then handle inputs until the end."""
        try:
            async with anyio.create_task_group() as tasks:
                self._prepare(tasks)
                await self._activate()
                await self._loop()
                tasks.cancel_scope.cancel()
        except* Conflict:
            _log.warning("session %s was written by another kernel and is left to it", self.session_id)
            self._back_after_s = BACK_AFTER_S
        except* VagusError as group:
            _log.warning("session %s is left for now: %s", self.session_id, group.exceptions[0])
            self._back_after_s = BACK_AFTER_S
        finally:
            await self._give_back()

    def _prepare(self, tasks: TaskGroup) -> None:
        self._thinker = Thinker(self.ports, tasks, self.put)
        self.onion = Onion(self.ports.middlewares, tasks, self.put)
        self._performer = Performer(
            self.ports,
            tasks,
            call_model=self._call_model,
            post=self.put,
            traceparent=self.context_of,
        )

    def _call_model(self, effect: CallModel) -> None:
        lane = self.lane(effect.branch_id)

        def guards() -> list[Guard] | None:
            return None if self.onion and lane.pending is None else lane.guards

        self._thinker.think(effect, self.session, guards, self.context_of(effect.branch_id))

    async def _activate(self) -> None:
        """Fold the log; when something is owed, take the session over before doing it."""
        await self.ledger.load()
        session = self.session
        if session is None or session.manifest is None:
            return
        await self.projections.known_policy(session)
        await self._write_files(self.ledger.replayed)
        if any(branch.turn is not None or branch.waiting for branch in session.branches.values()):
            await self.apply(inputs.Resumed(snapshot=self.ledger.snapshot_id))

    async def _loop(self) -> None:
        while not self._stopping:
            self.touched_at = anyio.current_time()
            while self._mailbox and not self._stopping:
                await self._handle(self._mailbox.popleft())
            if self.ledger.snapshot_due(limits.SNAPSHOT_EVENTS):
                await self._snapshot()
            self._arrived = anyio.Event()
            if not (self._mailbox or self._stopping or self._reconnected):
                with anyio.move_on_after(CLOCK_S if self.busy or self.projections.dirty else None):
                    await self._arrived.wait()
            if not self._mailbox or self._reconnected:
                again, self._reconnected = self._reconnected, False
                await self._on_clock(again)

    async def _handle(self, item: Item) -> None:
        match item:
            case Delivery():
                await self._reception.receive(item)
            case Begin():
                await self._reception.begin(item)
            case Done():
                await self._reception.done(item)
            case _:
                await self._reception.answer(item)

    async def _on_clock(self, reconnected: bool) -> None:
        now = clock.now_ns()
        if self._performer is not None:
            await self._performer.on_clock(now, reconnected=reconnected)
        await self.projections.flush(self.session, self.ledger.stream_sequence)
        limit = self.ports.settings.turn_timeout_s
        for branch in tuple(self.session.branches.values()) if self.session is not None else ():
            match branch.turn:
                case Turn(started_at=started) if now - parse(started) > limit * SECOND_NS:
                    reason = f"the turn took longer than {limit:g} s"
                    self.put(inputs.GiveUp(branch_id=branch.branch_id, reason=reason))

    async def _snapshot(self) -> None:
        """Only of what is in the files as well: they are rebuilt from what comes after the snapshot."""
        await self.ports.files.flushed()
        try:
            await self.ledger.snapshot()
        except VagusError as error:
            _log.warning("no snapshot of session %s: %s", self.session_id, error)

    async def _give_back(self) -> None:
        with anyio.move_on_after(limits.REQUEST_TIMEOUT_S, shield=True):
            if self._stopping:
                await self.projections.flush(self.session, self.ledger.stream_sequence, now=True)
                await self._snapshot()
        unsettled = [item for item in self._mailbox if isinstance(item, Delivery)]
        unsettled += [held.delivery for lane in self.lanes.values() for held in lane.held()]
        unsettled += self._reception.unsettled()
        for delivery in unsettled:
            self.ports.keep_alive.drop(delivery)
            await delivery.nak(self._back_after_s)
        for spans in self._spans.values():
            spans.end()

    # Deciding ---------------------------------------------------------------------------------------------

    async def apply(
        self,
        given: Input,
        *,
        held: Held | None = None,
        report: ToolExecutionReport | None = None,
        traceparent: str | None = None,
    ) -> Decision | VagusError:
        """Decide one input, commit what follows and do what is owed; returns the decision, or the refusal.

        `held` is the input that a turn which begins here holds on to; it is settled when that turn has ended.
        """
        traceparent = traceparent or (held.traceparent if held is not None else None)
        outcome = decide(self.session, given, self._context(traceparent))
        if isinstance(outcome, Rejected):
            return outcome.error
        if not outcome.records:
            return outcome
        branch_id = outcome.records[0].branch_id
        lane, spans = self.lane(branch_id), self.spans(branch_id)
        before = self._turn_of(branch_id)
        if held is not None:
            spans.begin(held.traceparent)
        hit("kernel.before_commit")
        try:
            stored = await self._commit(outcome, branch_id)
        except (Refused, Malformed) as error:
            return error  # nothing was stored: it is too long, or cannot be written as JSON
        hit("kernel.committed_not_performed")
        if held is not None:
            lane.holder = held
        after = self._turn_of(branch_id)
        in_turn = held is not None or before is not None or after is not None
        if in_turn:
            lane.events += stored
        spans.record(stored)
        self.projections.touch()
        await self._write_files(stored, report)
        await self._perform(outcome)
        hit("kernel.performed_not_acked")
        if in_turn and after is None:
            await self._ended(branch_id, before, stored)
        return outcome

    async def _perform(self, decision: Decision) -> None:
        session = self.session
        if session is None or session.manifest is None or self._performer is None:
            return
        await self.projections.policy(session)
        await self._performer.reconcile(session)
        for effect in decision.withdraw:
            await self._performer.withdraw(effect)

    def _turn_of(self, branch_id: str) -> Turn | None:
        branch = self.session.branches.get(branch_id) if self.session is not None else None
        return branch.turn if branch is not None else None

    def _context(self, traceparent: str | None) -> Context:
        ids = telemetry.ids(traceparent)
        return Context(
            config=self.ports.config,
            now=clock.now(),
            seed=secrets.token_bytes(16),
            tools=self.ports.toolbox,
            trace_id=ids[0] if ids else None,
            span_id=ids[1] if ids else None,
        )

    async def _commit(self, decision: Decision, branch_id: str) -> tuple[EventRecord, ...]:
        """Repeats itself while the server cannot be reached or is full: the same bytes are stored once."""
        deadline = anyio.current_time() + PATIENCE_S
        while True:
            try:
                return await self.ledger.append(
                    decision.records, decision.session, self.context_of(branch_id)
                )
            except (Unavailable, OutcomeUnknown, Busy):
                if anyio.current_time() > deadline or self._stopping:
                    raise
                await anyio.sleep(RETRY_S)

    async def _ended(self, branch_id: str, turn: Turn | None, stored: tuple[EventRecord, ...]) -> None:
        """A turn's last event is committed: reply, ack, and let the next input begin."""
        lane = self.lane(branch_id)
        command_id = turn.command_id if turn is not None else stored[0].correlation_id
        events = [record for record in lane.events if record.correlation_id == command_id]
        holder, lane.holder, lane.events = lane.holder, None, []
        self.spans(branch_id).end()
        if turn is not None and (not events or events[0].sequence > turn.first_sequence):
            events = await self.events_of(branch_id, turn.first_sequence, command_id)
        output = tick_output(events)
        if lane.pending is not None:
            lane.holder = holder  # the middlewares are not through; they give the reply
            lane.pending.settle(output or Interrupted("the turn has no end on the log"))
            lane.pending = None
            return
        if holder is not None:
            if output is not None:
                await self._reception.reply(holder.input, output)
            await self.settle(holder.delivery)
        lane.guards = []
        await self._reception.advance(branch_id)

    async def events_of(self, branch_id: str, first: int, command_id: str | None) -> list[EventRecord]:
        """The events of a tick that began at sequence `first`, from the log."""
        found: list[EventRecord] = []
        while True:
            page = await self._page(branch_id, first)
            found += (record for record in page if record.correlation_id == command_id)
            if len(page) < PAGE_EVENTS or tick_output(found) is not None:
                return found
            first = page[-1].sequence + 1

    async def find_tick(self, branch_id: str, command_id: str) -> list[EventRecord]:
        """The events of a tick that has ended, searched for backwards from the branch's head."""
        branch = self.session.branches.get(branch_id) if self.session is not None else None
        last = branch.head_sequence if branch is not None else 0
        while last > 0:
            first = max(1, last - PAGE_EVENTS + 1)
            for record in await self._page(branch_id, first):
                if record.correlation_id == command_id and record.causation_id == command_id:
                    return await self.events_of(branch_id, record.sequence, command_id)
            last = first - 1
        return []

    async def _page(self, branch_id: str, first: int) -> list[EventRecord]:
        return await self.ports.log.read(self.session_id, branch_id, from_sequence=first, limit=PAGE_EVENTS)

    # Doing ------------------------------------------------------------------------------------------------

    def spans(self, branch_id: str) -> TurnSpans:
        """The branch's spans."""
        spans = self._spans.get(branch_id)
        if spans is None:
            spans = self._spans[branch_id] = TurnSpans(self.session_id, branch_id)
        return spans

    def context_of(self, branch_id: str) -> str | None:
        """The traceparent of what the branch does now."""
        spans = self._spans.get(branch_id)
        return spans.context if spans is not None else None

    def sign(self, effect_id: str) -> None:
        """Somebody works on the effect."""
        if self._performer is not None:
            self._performer.sign(effect_id)

    async def settle(self, delivery: Delivery) -> None:
        """Ack an input: it is done."""
        self.ports.keep_alive.drop(delivery)
        await delivery.ack()

    def supersede(self, held: Held, delivery: Delivery) -> None:
        """The input was delivered again: from now on that delivery stands for it."""
        if held.delivery is not delivery:
            self.ports.keep_alive.drop(held.delivery)
            held.delivery.forget()
            held.delivery = delivery

    async def make_workspace(self) -> None:
        """Make the session's folder; blocking work in a thread."""
        if self.session is not None and self.session.manifest is not None:
            root = self.ports.settings.sessions_root / self.session_id
            try:
                await run_sync(initialise, root, self.session.manifest)
            except OSError as error:
                _log.error("cannot make the workspace %s: %s", root, error.strerror)

    async def _write_files(
        self, records: tuple[EventRecord, ...], report: ToolExecutionReport | None = None
    ) -> None:
        settings = self.ports.settings
        await self.ports.files.submit(
            files_of(
                records,
                workspace=f"{settings.sessions_root}/{self.session_id}",
                lake=f"{settings.lake_root}/{self.session_id}",
                checkpoint_keep=settings.checkpoint_keep,
                report=report,
            )
        )

    async def say(self, reply_to: str | None, command_id: str, answer: msgspec.Struct | VagusError) -> None:
        """Reply to a client, if it wants a reply; at most once, since the log has it as well."""
        if not reply_to or not Subjects.is_inbox(reply_to):
            return  # nobody gets the kernel to speak elsewhere in its own name
        if isinstance(answer, VagusError):
            reply = Reply(command_id=command_id, error=ErrorInfo.of(answer))
        else:
            reply = Reply(command_id=command_id, ok=msgspec.Raw(msgspec.json.encode(answer)))
        await self.ports.bus.publish(reply_to, msgspec.json.encode(reply))
