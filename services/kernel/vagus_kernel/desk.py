"""What becomes of the commands that are not ticks: they are handled at once.

Merge and close wait for the ends of what `cancel` stops.
"""

from dataclasses import replace
from typing import TYPE_CHECKING, TypeAlias

import msgspec

from vagus.contract import commands
from vagus.contract.commands import Command
from vagus.contract.errors import Permanent, Refused, SessionErased, VagusError
from vagus.contract.ids import Mint
from vagus.contract.models import ModelRouting
from vagus.contract.replies import Cancelled
from vagus.contract.schedules import Schedules
from vagus.contract.sessions import SessionManifest
from vagus.runtime import clock, telemetry
from vagus.runtime.faults import hit
from vagus.runtime.queue import Delivery
from vagus_kernel import inputs
from vagus_kernel.archiving import Archiving
from vagus_kernel.decide import Decision
from vagus_kernel.decide.branches import fork_point, unmergeable
from vagus_kernel.decide.tick import writable
from vagus_kernel.erasing import CLOSED, Erasing
from vagus_kernel.inputs import Input
from vagus_kernel.lanes import Held
from vagus_kernel.state import Branch

if TYPE_CHECKING:
    from vagus_kernel.actor import Actor
    from vagus_kernel.turns import Turns

_Ending: TypeAlias = commands.Cancel | commands.MergeBranch | commands.Close | commands.EraseSession
"""Those that may end what is at work."""


class Desk:
    """Of one actor."""

    def __init__(self, actor: "Actor", turns: "Turns") -> None:
        self._actor = actor
        self._turns = turns
        self._archiving = Archiving(actor)
        self._erasing = Erasing(actor)
        self._deferred: list[tuple[Delivery, _Ending]] = []

    async def handle(self, delivery: Delivery, command: Command) -> None:
        """Handle one command to its reply, or put it off until what it ends has ended."""
        if self._actor.session is None and not isinstance(
            command, commands.CreateSession | commands.EraseSession
        ):
            missing = self._actor.ledger.missing
            if isinstance(command, commands.Tick) and not isinstance(missing, SessionErased):
                await self._turns.refuse(Held(command, delivery), missing)
            else:
                await self._finish(delivery, command, missing)
            return
        match command:
            case commands.Tick():
                await self._turns.tick(delivery, command)
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
            case commands.EraseSession():
                await self._erase(delivery, command)
            case commands.Schedule() | commands.Unschedule() | commands.ListSchedules():
                await self._finish(delivery, command, await self._scheduled(command))
            case commands.ArchiveSession() | commands.RestoreSession():
                await self._finish(delivery, command, await self._archiving.handle(command))
            case _:
                await self._finish(delivery, command, await self._decided(delivery, command))

    async def resume(self) -> None:
        """A turn has ended: what was put off for that is looked at again."""
        deferred, self._deferred = self._deferred, []
        for delivery, command in deferred:
            if isinstance(command, commands.Cancel):
                await self._withdraw(delivery, command)
            else:
                await self.handle(delivery, command)

    async def _scheduled(
        self, command: commands.Schedule | commands.Unschedule | commands.ListSchedules
    ) -> msgspec.Struct | VagusError:
        """Schedules are no part of the session's state: a tick is logged when it begins."""
        calendar, session = self._turns.calendar, self._actor.session
        try:
            match command:
                case commands.ListSchedules():
                    return Schedules(schedules=tuple(await calendar.schedules()))
                case commands.Unschedule():
                    return await calendar.drop(command.unschedule.schedule_id)
            branch = writable(session, command.branch_id) if session is not None else None
            return branch if isinstance(branch, VagusError) else await calendar.add(command)
        except Permanent as error:
            return error

    async def _decided(self, delivery: Delivery, given: Input) -> msgspec.Struct | VagusError:
        decision = await self._actor.apply(given, traceparent=telemetry.extract(delivery.headers))
        if isinstance(decision, Decision) and decision.reply is not None:
            return decision.reply
        return decision if isinstance(decision, VagusError) else Refused("the command has no reply")

    async def _finish(
        self, delivery: Delivery, command: Command, answer: msgspec.Struct | VagusError
    ) -> None:
        await self._actor.be_current()
        await self._actor.say(command.reply_to, command.command_id, answer)
        await self._actor.settle(delivery)

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
            workspace_root=actor.ports.settings.workspace(command.session_id),
            model_routing=body.model_routing or ModelRouting(),
            policy=body.policy,
        )
        given = inputs.Create(command=command, manifest=manifest, agent_id=mint.uuid())
        answer = await self._decided(delivery, given)
        if fresh and not isinstance(answer, VagusError):
            await actor.make_workspace()
            await actor.projections.flush(actor.ledger, now=True)
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
        sequence, memory = await self._actor.ledger.memory_of(command.branch_id, checkpoint_id)
        given = inputs.RestoreTo(command=command, sequence=sequence, memory=memory)
        await self._finish(delivery, command, await self._decided(delivery, given))

    # Ending what is at work -------------------------------------------------------------------------------

    async def _merge_or_close(
        self, delivery: Delivery, command: commands.MergeBranch | commands.Close
    ) -> None:
        if await self._cleared(delivery, command):
            await self._finish(delivery, command, await self._decided(delivery, command))

    async def _erase(self, delivery: Delivery, command: commands.EraseSession) -> None:
        """The session is closed first: its last event tells every other kernel that it has lost it."""
        actor, order = self._actor, await self._erasing.ordered()
        if order is None:
            unordered = actor.ledger.missing if actor.session is None else self._erasing.unordered()
            await self._finish(delivery, command, unordered)
            return
        if actor.session is not None and not actor.session.closed and not actor.ledger.archived:
            if not await self._cleared(delivery, command):
                return
            body = commands.CloseSession(reason="it is being erased", cancel=True)
            closed = await self._decided(delivery, commands.Close(**_envelope(command), close=body))
            if isinstance(closed, VagusError):
                await self._finish(delivery, command, closed)
                return
            hit(CLOSED)
        await actor.be_current()
        await self._finish(delivery, command, await self._erasing.carry_out(order))

    async def _cleared(
        self, delivery: Delivery, command: commands.MergeBranch | commands.Close | commands.EraseSession
    ) -> bool:
        """With cancel, whatever is in its way is ended first; False: the command waits for that."""
        branches = self._in_the_way(command)
        for branch_id in branches:
            await self._end_all(branch_id, command.actor)
        if any(self._stopping(branch_id) for branch_id in branches):
            self._deferred.append((delivery, command))
            return False
        return True

    def _in_the_way(
        self, command: commands.MergeBranch | commands.Close | commands.EraseSession
    ) -> list[str]:
        """The branches on which everything is to be ended first."""
        session = self._actor.session
        if session is None or command.command_id in session.commands:
            return []
        if isinstance(command, commands.EraseSession):
            return list(session.branches)
        if isinstance(command, commands.Close):
            return list(session.branches) if command.close.cancel and not session.closed else []
        body = command.merge_branch
        return [body.branch] if body.cancel and unmergeable(session, body) is None else []

    async def _cancel(self, delivery: Delivery, command: commands.Cancel) -> None:
        session, branch_id = self._actor.session, command.branch_id
        if session is not None and command.command_id in session.commands:
            said = Cancelled(running=0, waiting=0, approvals=0)
        else:
            said = await self._end_all(
                branch_id, command.actor, command.cancel.command_id, command.command_id
            )
        await self._actor.be_current()
        await self._actor.say(command.reply_to, command.command_id, said)
        await self._withdraw(delivery, command)

    async def _withdraw(self, delivery: Delivery, command: commands.Cancel) -> None:
        """Tickets of a branch on which a tool is being stopped can be withdrawn when that has ended."""
        branch = self._branch(command.branch_id)
        if branch is not None and branch.turn is not None and branch.turn.cancelling:
            self._deferred.append((delivery, command))
            return
        if branch is not None and branch.turn is None and branch.waiting:
            wanted = command.cancel.command_id
            given = _cancel_turn(command.branch_id, command.actor, wanted, command.command_id)
            await self._actor.apply(given)
        await self._actor.settle(delivery)

    async def _end_all(
        self, branch_id: str, actor: str, command_id: str | None = None, by: str | None = None
    ) -> Cancelled:
        """End what runs, waits and asks on a branch; of one tick only, if its command is named."""
        dropped, ids = self._turns.drop(branch_id, command_id)
        branch = self._branch(branch_id)
        turn = branch.turn if branch is not None else None
        running = turn is not None and command_id in (None, turn.command_id)
        tickets = self._tickets(branch, command_id)
        await self._actor.apply(replace(_cancel_turn(branch_id, actor, command_id, by), dropped=ids))
        for held in dropped:  # who is told so can rely on it: the log says it as well
            await self._turns.answer(held, Refused("cancelled before it began"))
        return Cancelled(running=int(running), waiting=len(ids), approvals=tickets)

    def _tickets(self, branch: Branch | None, command_id: str | None) -> int:
        return sum(
            ticket.decision is None
            for call in (branch.waiting if branch is not None else ())
            if command_id in (None, call.command_id)
            for ticket in call.tickets
        )

    def _stopping(self, branch_id: str) -> bool:
        """Whether a tool that runs there is being stopped."""
        branch = self._branch(branch_id)
        return branch is not None and branch.turn is not None and branch.turn.cancelling

    def _branch(self, branch_id: str) -> Branch | None:
        session = self._actor.session
        return session.branches.get(branch_id) if session is not None else None


def _envelope(command: Command) -> dict[str, str]:
    """What a command that follows from another has of it."""
    return {
        "command_id": command.command_id,
        "session_id": command.session_id,
        "actor": command.actor,
        "sent_at": command.sent_at,
    }


def _cancel_turn(branch_id: str, actor: str, command_id: str | None, by: str | None) -> inputs.CancelTurn:
    return inputs.CancelTurn(
        branch_id=branch_id, actor=actor, command_id=command_id, tickets=command_id is None, by=by
    )
