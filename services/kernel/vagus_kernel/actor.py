"""The actor of one session: takes its inputs one at a time, decides, commits, performs what is owed, acks.

An input is acked after its commit; the one that starts a turn stays unacked until the turn's end is
committed. One that leads to no commit is acked only when the log says that nobody else has written. When
somebody has, this actor knows nothing any more: it drops everything, unacked.
"""

import asyncio
import logging
import os
from collections import deque
from collections.abc import Callable, Sequence
from typing import Final, TypeAlias

import anyio
import msgspec
from anyio.abc import TaskGroup
from anyio.to_thread import run_sync

from vagus.contract.clock import SECOND_NS, parse
from vagus.contract.commands import Reply
from vagus.contract.errors import (
    Conflict,
    Malformed,
    OutcomeUnknown,
    Permanent,
    Refused,
    Transient,
    Unavailable,
    VagusError,
)
from vagus.contract.events import EventRecord
from vagus.contract.messages import Verdict
from vagus.contract.subjects import Subjects
from vagus.contract.tools import ToolExecutionReport
from vagus.runtime import clock, telemetry
from vagus.runtime.faults import hit
from vagus.runtime.queue import Delivery, dead_letter
from vagus_kernel import inputs
from vagus_kernel.alarm import Alarm
from vagus_kernel.decide import Decision, Rejected, decide
from vagus_kernel.effects import CallModel
from vagus_kernel.handover import Handover
from vagus_kernel.inputs import Context, Input
from vagus_kernel.keeping import Keeping
from vagus_kernel.lanes import Held, Lane
from vagus_kernel.ledger import Ledger
from vagus_kernel.middleware import Guard
from vagus_kernel.onion import Begin, Done, Onion
from vagus_kernel.patience import Patience
from vagus_kernel.performer import Performer
from vagus_kernel.ports import Ports
from vagus_kernel.projections import Projections
from vagus_kernel.reception import Reception
from vagus_kernel.spans import TurnSpans
from vagus_kernel.state import Session, Turn
from vagus_kernel.thinker import Thinker
from vagus_kernel.turns import Advance
from vagus_kernel.workspace import files_of, initialise

_log = logging.getLogger(__name__)

BACK_AFTER_S: Final = 0.5
"""When inputs that could not be handled now come again: so late at first, then twice as late each time."""
BACK_MOST_S: Final = 8.0
LAST_WORDS_S: Final = 2.0
"""What writing the registry's entry and the snapshot may take at the end."""

_PASSING: Final = (Conflict, OutcomeUnknown, Transient)

Item: TypeAlias = Delivery | Verdict | Handover | Input | Begin | Done | Advance


class Actor:
    """One session. `run` ends when the actor was asked to stop, or lost the session to another kernel."""

    def __init__(self, session_id: str, ports: Ports) -> None:
        self.session_id = session_id
        self.ports = ports
        self.ledger = Ledger(session_id, ports.log, ports.snapshots, ports.keeper)
        self.projections = Projections(ports, session_id)
        self.keeping = Keeping(self.ledger, ports.files)
        self.lanes: dict[str, Lane] = {}
        self.touched_at = 0.0
        """When it last handled something, on the event loop's clock."""
        self.ended = anyio.Event()
        self._reception = Reception(self)
        self._items: deque[Item] = deque()
        self._unsettled: dict[Delivery, None] = {}
        self._arrived = asyncio.Event()
        self._patience = Patience()
        self._stopping = False
        self._reconnected = False
        self._active = False
        self._current = False
        self._in_hand: Item | None = None
        self._spans: dict[str, TurnSpans] = {}
        self._performer: Performer | None = None
        self._alarm: Alarm
        self._tasks: TaskGroup
        self._time: Callable[[], float]
        self._thinker: Thinker
        self.onion: Onion

    # Mailbox ----------------------------------------------------------------------------------------------

    def put(self, item: Item) -> None:
        """Take an input; it is handled in its turn."""
        if isinstance(item, Delivery):
            self._unsettled[item] = None
            self.ports.keep_alive.hold(item)
        self._items.append(item)
        self._arrived.set()

    def stop(self) -> None:
        """Finish the input in hand, then end; what is unacked goes back to the queue."""
        self._stopping = True
        self._patience.lose()
        self._arrived.set()

    def rest(self) -> None:
        """Nobody has spoken to it for a while: let it keep a snapshot now."""
        self.keeping.want()
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
        return self._performer is None or self._performer.busy or self.waiting or bool(self._unsettled)

    @property
    def waiting(self) -> bool:
        """Whether there are inputs that nobody has looked at."""
        return bool(self._items)

    @property
    def session(self) -> Session | None:
        """The state, None if the session does not exist."""
        return self.ledger.session

    def lane(self, branch_id: str) -> Lane:
        """The lane of a branch that exists."""
        lane = self.lanes.get(branch_id)
        if lane is None:
            lane = self.lanes[branch_id] = Lane()
        return lane

    # Life -------------------------------------------------------------------------------------------------

    async def run(self) -> list[Delivery]:
        """Load the session, then handle inputs until the end.

        Returns the inputs that a new actor is to take: those that were not in hand when a bug ended this one.
        """
        lost: Exception | None = None
        left: list[Delivery] = []
        try:
            async with anyio.create_task_group() as tasks:
                self._prepare(tasks)
                if not self._stopping:
                    await self._activate()
                await self._loop()
                tasks.cancel_scope.cancel()
        except* Conflict as group:
            lost = group.exceptions[0]
            _log.warning("session %s was written by another kernel and is left to it", self.session_id)
        except* VagusError as group:
            lost = group.exceptions[0]
            _log.warning("session %s is left for now: %s", self.session_id, lost)
        except* Exception as group:  # one session's bad luck must not be that of all others
            lost = group.exceptions[0]
            _log.exception("session %s is loaded anew after a bug", self.session_id)
        finally:
            left = await self._give_back(lost)
            self.ended.set()
        return left

    def _prepare(self, tasks: TaskGroup) -> None:
        self._time = asyncio.get_running_loop().time
        self._alarm = Alarm(self._arrived.set)
        self._tasks = tasks
        self._thinker = Thinker(self.ports, tasks, self.put)
        self.onion = Onion(
            self.ports.middlewares, tasks, self.put, limit_s=self.ports.settings.turn_timeout_s
        )
        self._performer = Performer(
            self.ports,
            tasks,
            patience=self._patience,
            call_model=self._call_model,
            forget_model=self._thinker.forget,
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
        await self.ledger.load(self._write_files)
        session = self.session
        if session is not None and session.manifest is not None and not self._stopping:
            await self.make_workspace()
            await self.projections.known_policy(session)
            self.projections.touch()  # whoever had it before may have died with the registry behind
            if self._performer is not None:
                self._performer.inherit(session)
                await self._performer.withdraw_forgotten(session, self.ledger.check)
            if any(branch.turn is not None or branch.waiting for branch in session.branches.values()):
                await self.apply(inputs.Resumed(snapshot=self.ledger.snapshot_id))
        self._active = True

    async def _loop(self) -> None:
        while not self._stopping:
            for _ in range(len(self._items)):
                if not self._stopping:
                    await self._handle(self._items.popleft())
            if self._reconnected or self._alarm.due:  # last: signs of life may be among what has arrived
                self._alarm.wind()
                again, self._reconnected = self._reconnected, False
                await self._on_clock(again and self.busy)
            if self.session is None and not self._items:
                return  # there is nothing to remember of a session that does not exist
            self.keeping.begin(self._tasks)
            await self._sleep()

    async def _sleep(self) -> None:
        """Wait for the next item, or for the clock if there is something to look at."""
        self._arrived.clear()
        if self._items or self._stopping or self._reconnected:
            return
        if self.busy or self.projections.dirty:
            self._alarm.set()
            await self._arrived.wait()
        else:
            await self._arrived.wait()
            self._alarm.wind()

    async def _handle(self, item: Item) -> None:
        self.touched_at = self._time()
        self._current, self._in_hand = False, item
        await self._reception.handle(item)
        self._in_hand = None

    async def _on_clock(self, reconnected: bool) -> None:
        now = clock.now_ns()
        if self._performer is not None and (reconnected or self._performer.overdue(now)):
            try:
                await self.ledger.check()  # or we would do again what has become another kernel's to do
                await self._performer.on_clock(now, reconnected=reconnected)
            except (Unavailable, OutcomeUnknown) as error:
                _log.debug("session %s: %s; the next second will tell", self.session_id, error)
        await self.projections.flush(self.ledger)
        limit = self.ports.settings.turn_timeout_s
        for branch in tuple(self.session.branches.values()) if self.session is not None else ():
            match branch.turn:
                case Turn(started_at=started) if now - parse(started) > limit * SECOND_NS:
                    reason = f"the turn took longer than {limit:g} s"
                    self.put(inputs.GiveUp(branch_id=branch.branch_id, reason=reason))

    async def _give_back(self, lost: Exception | None) -> list[Delivery]:
        asked, self._stopping = self._stopping, True  # what comes from now on is for the next actor
        self._alarm.stop()
        for spans in self._spans.values():
            spans.end()
        for item in (self._in_hand, *self._items):
            if isinstance(item, Handover):
                item.refuse()
        kept: list[Delivery] = []
        for delivery in [item for item in self._unsettled if not item.settled]:
            if not asked and self._is_innocent(delivery, lost):
                kept.append(delivery)
            elif await self._is_hopeless(delivery, lost):
                await self.bury(delivery, f"the session cannot be loaded: {lost}")
            else:
                await self._send_back(delivery, lost)
        if lost is None:
            with anyio.move_on_after(LAST_WORDS_S, shield=True):
                await self.projections.flush(self.ledger, now=True)
                await self.keeping.take(self.ports.files.flushed)
        return kept

    def _is_innocent(self, delivery: Delivery, lost: Exception | None) -> bool:
        """Whether another input, in hand, brought a bug to light: this one need not come again for that."""
        bug = lost is not None and not isinstance(lost, VagusError)
        culprit = self._in_hand if isinstance(self._in_hand, Delivery) else None
        return bug and culprit is not None and delivery is not culprit

    async def _is_hopeless(self, delivery: Delivery, lost: Exception | None) -> bool:
        """Whether the session's log cannot be read, not even at the last attempt."""
        unreadable = lost is not None and not self._active and not isinstance(lost, _PASSING)
        return unreadable and await delivery.worn_out()

    async def _send_back(self, delivery: Delivery, lost: Exception | None) -> None:
        self.ports.keep_alive.drop(delivery)
        wait_s = min(BACK_AFTER_S * 2 ** min(delivery.deliveries - 1, 10), BACK_MOST_S)
        if lost is None:
            await delivery.give_back()
        elif isinstance(lost, Conflict):  # that another kernel was first says nothing against the input
            await delivery.give_back(wait_s)
        else:
            await delivery.nak(wait_s)

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

        Raises:
            Conflict: Somebody else has written to the log.
            Unavailable, OutcomeUnknown, Busy: It could not be committed, or not everything could be done that
                must be done before an input is acked.
        """
        outcome = decide(self.session, given, self._context(traceparent))
        if isinstance(outcome, Rejected):
            return outcome.error
        if not outcome.records:
            return outcome
        branch_id = outcome.records[0].branch_id
        lane, spans = self.lane(branch_id), self.spans(branch_id)
        before = self._turn_of(branch_id)
        hit("kernel.before_commit")
        meanwhile = asyncio.get_running_loop().call_soon(self._foresee, outcome)
        try:
            stored = await self._commit(outcome, branch_id)
        except (Refused, Malformed) as error:  # nothing was stored: it is too long, or cannot be JSON
            await self._reconcile()
            return error
        finally:
            meanwhile.cancel()
        hit("kernel.committed_not_performed")
        self._current = True
        after = self._turn_of(branch_id)
        turn = after or before
        if turn is not None or held is not None:
            command_id = turn.command_id if turn is not None else stored[0].correlation_id
            lane.events += (record for record in stored if record.correlation_id == command_id)
        spans.record(stored)
        try:
            await self._perform(outcome)
            hit("kernel.performed_not_acked")
            if (before is not None or held is not None) and after is None:
                await self._reception.turns.ended(branch_id, before)
        except Permanent as error:  # the commit stands: its input must come again, and is not to be refused
            raise Unavailable(f"what is owed cannot be done: {error}") from error
        await self._write_files(stored, report)  # last, since nobody waits for them
        return outcome

    def _foresee(self, decision: Decision) -> None:
        """A commit is on its way: what it will owe is worked out meanwhile."""
        session = decision.session
        if self._performer is not None and session is not None and self.projections.has_policy_of(session):
            self._performer.foresee(session)

    async def _perform(self, decision: Decision) -> None:
        self.projections.touch()
        session = self.session
        if session is None or session.manifest is None or self._performer is None:
            return
        await self._patience.until(lambda: self.projections.policy(session))
        await self._reconcile()
        await self._performer.withdraw(decision.withdraw)

    async def _reconcile(self) -> None:
        if self._performer is not None and self.session is not None:
            await self._performer.reconcile(self.session)

    def _turn_of(self, branch_id: str) -> Turn | None:
        branch = self.session.branches.get(branch_id) if self.session is not None else None
        return branch.turn if branch is not None else None

    def _context(self, traceparent: str | None) -> Context:
        ids = telemetry.ids(traceparent)
        return Context(
            config=self.ports.config,
            now=clock.now(),
            seed=os.urandom(16),
            tools=self.ports.toolbox,
            trace_id=ids[0] if ids else None,
            span_id=ids[1] if ids else None,
        )

    async def _commit(self, decision: Decision, branch_id: str) -> tuple[EventRecord, ...]:
        """Repeats itself while the server cannot be reached or is full: the same bytes are stored once."""
        traceparent = self.context_of(branch_id)
        return await self._patience.until(
            lambda: self.ledger.append(decision.records, decision.session, traceparent)
        )

    async def be_current(self) -> None:
        """Raise `Conflict` if what is known here may be out of date; a commit for this input has told."""
        if not self._current:
            await self.ledger.check()
            self._current = True

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

    def sign(self, effect_id: str, *, ended: bool = False) -> None:
        """Somebody works on the effect, or has ended it."""
        if self._performer is not None:
            self._performer.sign(effect_id, ended=ended)

    async def settle(self, delivery: Delivery, *, sure: bool = False) -> None:
        """Ack an input: it is done. `sure`: whatever others may have written meanwhile."""
        if not sure:
            await self.be_current()
        self.ports.keep_alive.drop(delivery)
        self._unsettled.pop(delivery, None)
        await delivery.ack()

    async def bury(self, delivery: Delivery, reason: str) -> None:
        """End an input that cannot be handled where people find it."""
        ports = self.ports
        ports.keep_alive.drop(delivery)
        self._unsettled.pop(delivery, None)
        await dead_letter(ports.bus, ports.subjects, f"kernel.{self.session_id}", delivery, reason)

    def supersede(self, held: Held, delivery: Delivery) -> None:
        """The input was delivered again: from now on that delivery stands for it."""
        if held.delivery is not delivery:
            self.forget(held.delivery)
            held.delivery = delivery

    def forget(self, delivery: Delivery) -> None:
        """It was delivered again, and that delivery is the one to settle."""
        self.ports.keep_alive.drop(delivery)
        self._unsettled.pop(delivery, None)
        delivery.forget()

    async def make_workspace(self) -> None:
        """Make the session's folder, unless it is there; blocking work in a thread."""
        if self.session is not None and self.session.manifest is not None:
            root = self.ports.settings.workspace(self.session_id)
            try:
                await run_sync(initialise, root, self.session.manifest)
            except OSError as error:
                _log.error("cannot make the workspace %s: %s", root, error.strerror)

    async def _write_files(
        self, records: Sequence[EventRecord], report: ToolExecutionReport | None = None
    ) -> None:
        settings = self.ports.settings
        await self.ports.files.submit(
            files_of(
                records,
                workspace=settings.workspace(self.session_id),
                lake=settings.lake(self.session_id),
                checkpoint_keep=settings.checkpoint_keep,
                report=report,
            )
        )

    async def say(self, reply_to: str | None, command_id: str, answer: msgspec.Struct | VagusError) -> None:
        """Reply to a client, if it wants a reply; at most once, since the log has it as well."""
        if not reply_to or not Subjects.is_inbox(reply_to):
            return  # nobody gets the kernel to speak elsewhere in its own name
        try:
            await self.ports.bus.publish(reply_to, msgspec.json.encode(Reply.to(command_id, answer)))
        except Refused:  # too long for a message: an empty one says that the log has it
            await self.ports.bus.publish(reply_to)
        except Malformed as error:
            _log.info("no reply to %s of session %s: %s", command_id, self.session_id, error)
