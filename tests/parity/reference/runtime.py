"""The original without its turns: sessions, branches, tickets, the log and what can go wrong with it."""

import re
from collections.abc import Collection
from typing import Any

import msgspec

from tests.parity.account import Account, Told
from tests.parity.reference.conversation import conversation
from tests.parity.reference.mind import Mind, estimate
from tests.parity.reference.state import Branch, Failed, Session, Ticket
from tests.parity.script import Files, error_text
from tests.parity.trace import Object, Trace
from vagus.contract.ids import PATTERN
from vagus.contract.policy import PolicySet

MAIN = "main"
RESYNCED = "failed appending event; sequence was resynced"
NOT_RESYNCED = "failed appending event and failed sequence resync: failed loading latest sequence for resync"


class Runtime:
    """One process of the original, or what ours must look like from outside."""

    def __init__(self, trace: Trace, rulings: Collection[str]) -> None:
        self.trace = trace
        self.rulings = frozenset(rulings)
        self.consulted: set[str] = set()
        """What anybody asked of them: the others have no part in this account."""
        self.account = Account()
        self.step = 0
        self.files = Files()
        self.sessions: dict[str, Session] = {}
        self.tickets: dict[str, Ticket] = {}
        self.asked: list[str] = []
        """Approval ids in the order of their making."""
        self.broken: set[str] = set()
        """Sessions whose heartbeat cannot be written."""
        self._faults: list[dict[str, Any]] = []
        self._ids = 0

    def rules(self, ruling: str) -> bool:
        self.consulted.add(ruling)
        return ruling in self.rulings

    def new_id(self) -> str:
        self._ids += 1
        return f"<new:{self._ids}>"

    # Faults -----------------------------------------------------------------------------------------------

    def inject(self, fault: Object) -> None:
        self._faults.append({**fault, "left": fault["nth"]})

    def fault(self, on: str) -> Object | None:
        """The fault that hits this call of a port, if one does."""
        for fault in self._faults:
            if fault["on"] == on:
                fault["left"] -= 1
                if fault["left"] == 0:
                    self._faults.remove(fault)
                    return fault
        return None

    def fail(self, on: str) -> None:
        fault = self.fault(on)
        if fault is not None:
            raise Failed(error_text(fault["error"]))

    # The log ----------------------------------------------------------------------------------------------

    def log(self, session: str, branch: str) -> list[Told]:
        return self.account.events.get(session, {}).get(branch, [])

    def append(self, session: str, branch: str, kind: dict[str, Any]) -> int:
        """Append an event; returns its sequence."""
        held = self.writable(session, branch)
        fault = self.fault("append")
        if fault is not None and self.rules("W63"):
            fault = None
        stored = len(self.log(session, branch))
        conflict = held.next != stored + 1
        if not conflict and (fault is None or fault["when"] == "after"):
            stored = self.account.append(session, branch, Told(self.step, kind))
        if conflict or fault is not None:
            if self.fault("head"):
                held.next += not conflict
                raise Failed(NOT_RESYNCED)
            held.next = stored + 1
            raise Failed(RESYNCED)
        held.next = stored + 1
        held.head = max(held.head, stored)
        return stored

    def writable(self, session: str, branch: str) -> Branch:
        held = self.session(session).branches.get(branch)
        if held is None:
            raise Failed(f"branch not found: {branch}")
        if held.merged_into is not None:
            raise Failed(f"branch {branch} is merged into {held.merged_into} and is read-only")
        return held

    # Sessions ---------------------------------------------------------------------------------------------

    def session(self, session: str) -> Session:
        if session not in self.sessions:
            raise Failed(f"session not found: {session}")
        return self.sessions[session]

    def create_session(self, step: Object) -> Any:
        session = step["session_id"] or self.new_id()
        if self.rules("W54") and step["session_id"] is not None:
            _check_id(session)
        policy = msgspec.convert(step["policy"], PolicySet)
        known = self.sessions.get(session)
        if known is not None:
            if self.rules("W51") and policy != known.policy:
                raise Failed("", "Conflict")
            return known.manifest
        self.files.scaffold(session)
        manifest = {
            "session_id": session,
            "owner": step["owner"],
            "created_at": "<ts>",
            "workspace_root": f"<path>/root/sessions/{session}",
            "model_routing": step.get("routing") or _ROUTING,
            "policy": msgspec.to_builtins(policy),
        }
        head = len(self.log(session, MAIN))
        if self.fault("head") and not self.rules("W52"):
            head = 0
        main = Branch(MAIN, head=head, next=head + 1)
        created = self.sessions[session] = Session(manifest, policy, {MAIN: main})
        if not self.rules("W53"):
            self.fail("policy_set")
        if head == 0:
            config = {"manifest_hash": "<manifest>"}
            self.append(session, MAIN, {"type": "SessionCreated", "name": "<manifest>", "config": config})
            self.append(session, MAIN, {"type": "PhaseEntered", "phase": "sleep"})
        return created.manifest

    def restart(self, *, keep_approvals: bool) -> None:
        """The process ends; the log stays."""
        if not (keep_approvals or self.rules("W27")):
            self.tickets.clear()
        for name, session in list(self.sessions.items()):
            if not self.rules("W50"):
                session.mind, session.tick_count = Mind(), 0
                for branch in session.branches.values():
                    branch.mind = Mind()
            if not self.rules("W69"):
                session.branches = {MAIN: session.branches[MAIN]}
            if not (self.rules("W50") or self.rules("W69")):
                del self.sessions[name]

    # Branches ---------------------------------------------------------------------------------------------

    def mind(self, session: str, branch: str) -> Mind:
        held = self.session(session)
        return held.branches[branch].mind if self.rules("W14") else held.mind

    def create_branch(self, step: Object) -> Any:
        session, name = self.session(step["session_id"]), step["branch"]
        if self.rules("W54"):
            _check_id(name)
        source = step["from_branch"] or MAIN
        if name in session.branches:
            raise Failed(f"branch already exists: {name}")
        parent = session.branches.get(source)
        if parent is None:
            raise Failed(f"source branch not found: {source}")
        if parent.merged_into is not None:
            raise Failed(f"source branch {source} is merged into {parent.merged_into} and is read-only")
        fork = parent.head if step["fork_sequence"] is None else step["fork_sequence"]
        if fork > parent.head:
            raise Failed(f"fork sequence {fork} exceeds source branch head {parent.head}")
        branch = session.branches[name] = Branch(name, parent=source, fork=fork)
        self._inherit(step["session_id"], branch, parent)
        self.append(
            step["session_id"],
            name,
            {"type": "BranchCreated", "new_branch_id": name, "fork_point_seq": fork, "name": name},
        )
        return branch.info()

    def _inherit(self, session: str, branch: Branch, parent: Branch) -> None:
        """The mind as of the last turn that had ended by the fork, and the conversation up to there."""
        end, mind = [(end, mind) for end, mind in parent.ends if end <= branch.fork][-1]
        told = self.log(session, parent.name)
        begun = next((n for n in range(end, branch.fork) if _begins(told[n])), branch.fork)
        if self.rules("W66"):
            branch.prefix = conversation((event.kind for event in told[:begun]), parent.prefix)
        branch.mind = mind.copy()
        branch.mind.mode = estimate(mind.vector, 0, self.trace.config["circuit_breaker_errors"])
        branch.ends = [(0, branch.mind.copy())]

    def list_branches(self, step: Object) -> Any:
        branches = self.session(step["session_id"]).branches
        return [branches[name].info() for name in sorted(branches)]

    def merge_branch(self, step: Object) -> Any:
        session, source, target = self.session(step["session_id"]), step["source"], step["target"]
        if source == target:
            raise Failed("source and target branch must differ")
        if source == MAIN:
            raise Failed("main branch cannot be used as a merge source")
        held, into = session.branches.get(source), session.branches.get(target)
        if held is None:
            raise Failed(f"source branch not found: {source}")
        if held.merged_into is not None:
            raise Failed(f"source branch {source} already merged into {held.merged_into}")
        if into is None:
            raise Failed(f"target branch not found: {target}")
        if into.merged_into is not None:
            raise Failed(f"target branch {target} is merged into {into.merged_into} and is read-only")
        kind = {"type": "BranchMerged", "source_branch_id": source, "merge_seq": held.head}
        self.append(step["session_id"], target, kind)
        held.merged_into = target
        return {
            "source_branch": source,
            "target_branch": target,
            "source_head_sequence": held.head,
            "target_head_sequence": into.head,
        }


_ROUTING = {
    "primary_model": "claude-sonnet-4-5-20250929",
    "fallback_models": ["gpt-4.1"],
    "temperature": 0.2,
}


def _begins(told: Told) -> bool:
    return told.kind == {"type": "PhaseEntered", "phase": "perceive"}


def _check_id(value: str) -> None:
    if not re.match(PATTERN, value):
        raise Failed("", "Malformed")
