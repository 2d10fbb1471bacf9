"""A draft: the events of one decision, each folded into the state as it is written.

So every later step of a decision sees what the earlier ones did, and what a decision leads to is by
construction what a replay of its events leads to.
"""

from dataclasses import dataclass
from typing import TypeAlias

import msgspec
from msgspec.structs import replace

from vagus.contract.errors import VagusError
from vagus.contract.events import Actor, ActorType, EventKind, EventRecord, ModeChanged
from vagus.contract.ids import Mint
from vagus.contract.state import AgentStateVector, OperatingMode
from vagus_kernel.effects import WithdrawTicket
from vagus_kernel.evolve import evolve
from vagus_kernel.inputs import Context
from vagus_kernel.state import Branch, Session, Turn

KERNEL = Actor(type=ActorType.SYSTEM, component="vagus-kernel")


@dataclass(frozen=True, slots=True)
class Decision:
    """What follows from an input; no records: it was handled before, or is late."""

    session: Session | None
    records: tuple[EventRecord, ...] = ()
    reply: msgspec.Struct | None = None
    withdraw: tuple[WithdrawTicket, ...] = ()


@dataclass(frozen=True, slots=True)
class Rejected:
    """The input is refused; nothing was written."""

    error: VagusError


Outcome: TypeAlias = Decision | Rejected


class Draft:
    """Collects the events of one decision on one branch."""

    def __init__(
        self,
        session: Session | None,
        branch_id: str,
        context: Context,
        *,
        causation: str | None = None,
        command_id: str | None = None,
        agent_id: str = "",
        session_id: str = "",
    ) -> None:
        self.state = session
        self.context = context
        self.mint = Mint(context.seed)
        self.records: list[EventRecord] = []
        self.withdraw: list[WithdrawTicket] = []
        self._branch_id = branch_id
        self._causation = causation
        self._command_id = command_id
        self._agent_id = session.agent_id if session is not None else agent_id
        self._session_id = session.session_id if session is not None else session_id

    @property
    def session(self) -> Session:
        """The state so far; there is one from the first event on."""
        if self.state is None:
            raise AssertionError("a draft without a session has no state before its first event")
        return self.state

    @property
    def branch(self) -> Branch:
        """The branch that is written to."""
        return self.session.branches[self._branch_id]

    @property
    def turn(self) -> Turn:
        """The turn in progress on it."""
        if self.branch.turn is None:
            raise AssertionError("no turn in progress")
        return self.branch.turn

    @property
    def vector(self) -> AgentStateVector:
        """The branch's state vector so far."""
        return self.branch.memory.vector

    def emit(self, kind: EventKind) -> EventRecord:
        """Write one event."""
        known = self.state.branches.get(self._branch_id) if self.state is not None else None
        turn = known.turn if known is not None else None
        record = EventRecord(
            event_id=self.mint.uuid(),
            session_id=self._session_id,
            agent_id=self._agent_id,
            branch_id=self._branch_id,
            sequence=(known.head_sequence if known is not None else 0) + 1,
            timestamp=self.context.now,
            actor=KERNEL,
            causation_id=self._causation,
            correlation_id=self._command_id or (turn.command_id if turn is not None else None) or None,
            trace_id=self.context.trace_id,
            span_id=self.context.span_id,
            kind=kind,
        )
        self.state = evolve(self.state, record)
        self.records.append(record)
        return record

    def change_mode(self, mode: OperatingMode, reason: str) -> None:
        """Record a change of mode, if it is one."""
        current = self.branch.mode
        if mode is not current:
            self.emit(ModeChanged(from_=current, to=mode, reason=reason))

    def on_behalf_of(self, command_id: str) -> None:
        """Write for another command from here on."""
        self._command_id = command_id

    def set_turn(self, **changes: object) -> None:
        """Change the turn without an event: only for what is gone again by the end of the commit."""
        branch = replace(self.branch, turn=replace(self.turn, **changes))
        branches = {**self.session.branches, branch.branch_id: branch}
        self.state = replace(self.session, branches=branches)

    def decision(self, reply: msgspec.Struct | None = None) -> Decision:
        """All that was written."""
        return Decision(self.state, tuple(self.records), reply, tuple(self.withdraw))
