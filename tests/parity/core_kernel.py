"""The pure core with a log that is a list: decides, commits, narrates, and folds its log again."""

from dataclasses import replace

import msgspec

from tests.parity.account import Account, Json
from tests.parity.narration import Narrator
from tests.parity.ports import config
from tests.parity.trace import Trace
from tests.parity.workshop import Workshop
from vagus.contract import commands
from vagus.contract.approvals import ApprovalTicket, TicketState
from vagus.contract.codec import decode_commit, seal
from vagus.contract.errors import SessionNotFound
from vagus.contract.extensions import Memory
from vagus.contract.ids import Mint
from vagus_kernel import inputs
from vagus_kernel.decide import Decision, Rejected, decide
from vagus_kernel.decide.branches import fork_point
from vagus_kernel.effects import AskApproval
from vagus_kernel.evolve import evolve, inherited
from vagus_kernel.react import react
from vagus_kernel.state import Session

NOW = "2026-04-05T12:00:00Z"


class CoreKernel:
    """All sessions of one trace."""

    def __init__(self, trace: Trace, workshop: Workshop, account: Account) -> None:
        self.narrator = Narrator(account)
        self.sessions: dict[str, Session] = {}
        self.tickets: dict[str, ApprovalTicket] = {}
        """Every one that was ever asked for, in order."""
        self.step = 0
        self.context = inputs.Context(config=config(trace), now=NOW, seed=b"", tools=workshop.definitions)
        self.mint = Mint(trace.name.encode())
        self._commits: dict[str, list[bytes]] = {}

    def session(self, session_id: str) -> Session:
        """Raises `SessionNotFound`."""
        if session_id not in self.sessions:
            raise SessionNotFound(f"session not found: {session_id}")
        return self.sessions[session_id]

    def command(self, kind: str, session_id: str, branch: str, body: Json) -> commands.Command:
        """A command as it comes over the wire."""
        wire = {"type": kind, "command_id": self.mint.uuid(), "session_id": session_id, "branch_id": branch}
        return commands.decode_command(msgspec.json.encode({**wire, commands.BODY[kind]: body}))

    def decide(self, session_id: str, given: inputs.Input) -> Decision:
        """Decide one input and commit what follows; raises the error of a refusal."""
        context = replace(self.context, seed=self.mint.uuid().encode())
        outcome = decide(self.sessions.get(session_id), given, context)
        if isinstance(outcome, Rejected):
            raise outcome.error
        if outcome.records and outcome.session is not None:
            self._commits.setdefault(session_id, []).append(seal(outcome.records, "").payload)
            self.sessions[session_id] = outcome.session
            for record in outcome.records:
                self.narrator.tell(self.step, record, outcome.session.manifest)
            self._ask_people(outcome.session)
        for effect in outcome.withdraw:
            self.close_ticket(effect.ticket.approval_id, TicketState.WITHDRAWN)
        return outcome

    def _ask_people(self, session: Session) -> None:
        for effect in react(session, approval_timeout_s=60):
            if isinstance(effect, AskApproval):
                self.tickets.setdefault(effect.ticket.approval_id, effect.ticket)

    def close_ticket(self, approval_id: str, state: TicketState) -> None:
        """A ticket is answered, or nobody need answer it any more."""
        self.tickets[approval_id] = msgspec.structs.replace(self.tickets[approval_id], state=state)

    def restart(self) -> None:
        """Forget everything and fold the logs again: they hold all that the live state did."""
        for session_id, live in self.sessions.items():
            folded = self._folded(session_id)
            assert folded == live, "the log does not hold all that the live state does"
            self.sessions[session_id] = folded

    def past(self, session: Session, given: inputs.Fork) -> Memory | None:
        """What a fork inherits, where that is not what its parent holds now."""
        point = fork_point(session, given)
        if not isinstance(point, int):
            return None
        parent = session.branches[given.command.create_branch.from_branch]
        edge = parent.turn.first_sequence - 1 if parent.turn is not None else parent.head_sequence
        if point >= edge:
            return None
        past = self._folded(session.session_id, parent.branch_id, point) if point else None
        return inherited(past.branches[parent.branch_id]) if past is not None else Memory()

    def _folded(self, session_id: str, branch: str = "", until: int = 0) -> Session | None:
        """The log read again, up to a branch's sequence if one is given."""
        session: Session | None = None
        for payload in self._commits.get(session_id, []):
            for record in decode_commit(payload):
                session = evolve(session, record)
                if (record.branch_id, record.sequence) == (branch, until):
                    return session
        return session
