"""Tells what the original tells of a trace's steps, or with rulings what we must tell."""

from collections.abc import Callable, Collection
from typing import Any

from tests.parity.account import Account, Output, Told
from tests.parity.reference.harness import Ports
from tests.parity.reference.mind import estimate
from tests.parity.reference.runtime import MAIN, Runtime
from tests.parity.reference.state import Failed, Ticket
from tests.parity.reference.turn import Turn
from tests.parity.schedule import Timed, alone, run
from tests.parity.script import Script
from tests.parity.trace import Object, Trace, addressed
from vagus.contract.policy import evaluate


def tell(trace: Trace, rulings: Collection[str] = ()) -> Account:
    """The whole account."""
    return consult(trace, rulings)[0]


def consult(trace: Trace, rulings: Collection[str]) -> tuple[Account, Collection[str]]:
    """The whole account, and all rulings that have a part in it, whether they were on or off."""
    teller = _Teller(Runtime(trace, rulings))
    for number, step in enumerate(trace.steps):
        teller.step(number, step)
    return teller.runtime.account, teller.runtime.consulted


class _Teller:
    def __init__(self, runtime: Runtime) -> None:
        self.runtime = runtime
        self.script = Script(runtime.files)
        self.output = Output("")

    def step(self, number: int, step: Object) -> None:
        self.runtime.step = number
        self.script = Script(self.runtime.files)
        self.output = Output(step["op"])
        self.runtime.account.outputs.append(self.output)
        handlers: dict[str, Callable[[Object], Any]] = {
            "create_session": self.runtime.create_session,
            "create_branch": self.runtime.create_branch,
            "list_branches": self.runtime.list_branches,
            "merge_branch": self.runtime.merge_branch,
        }
        handler = handlers.get(step["op"]) or getattr(self, f"_{step['op']}")
        try:
            self.output.ok = handler(addressed(step, self.runtime.sessions))
        except Failed as error:
            self.output.error, self.output.error_type = error.text, error.kind

    # Ticks ------------------------------------------------------------------------------------------------

    def _tick(self, step: Object) -> Any:
        self.script.add(step["session_id"], step["branch"] or MAIN, step)
        return alone(self._one(step))

    def _concurrent(self, step: Object) -> Any:
        for tick in step["ticks"]:
            self.script.add(tick["session_id"], tick["branch"] or MAIN, tick)
        return run([self._caught(tick) for tick in step["ticks"]])

    def _caught(self, tick: Object) -> Timed[Any]:
        try:
            return {"ok": (yield from self._one(tick))}
        except Failed as error:
            return {"error": error.text}

    def _one(self, step: Object) -> Timed[Any]:
        session, name = step["session_id"], step["branch"] or MAIN
        yield step.get("start_delay_ms") or 0
        branch = self.runtime.session(session).branches.get(name)
        while self.runtime.rules("W62") and branch is not None and branch.busy:
            yield None
        if branch is not None:
            branch.busy = True
        try:
            return (yield from self._turn(session, name).tick(step))
        finally:
            if branch is not None:
                branch.busy = False

    def _turn(self, session: str, branch: str) -> Turn:
        return Turn(self.runtime, Ports(self.runtime, self.script), session, branch, self.output)

    # Tickets ----------------------------------------------------------------------------------------------

    def _list_pending(self, step: Object) -> Any:
        tickets = self.runtime.tickets.values()
        return [ticket.as_json() for ticket in tickets if ticket.session == step["session_id"]]

    def _resolve_approval(self, step: Object) -> None:
        runtime, session = self.runtime, step["session_id"]
        asked: str = step.get("approval_id") or runtime.asked[step["approval_index"]]
        ticket = runtime.tickets.get(asked)
        if ticket is None or (runtime.rules("W22") and ticket.session != session):
            raise Failed(f"approval not pending: {asked}")
        del runtime.tickets[asked]
        runtime.session(session)
        branch = ticket.branch if runtime.rules("W22") else MAIN
        turn = self._turn(session, branch)
        decision = "approved" if step["approved"] else "denied"
        turn.emit("ApprovalResolved", approval_id=asked, decision=decision, reason=step["actor"])
        ticket.waiting.open -= 1
        if runtime.rules("W21"):
            self._resume(turn, ticket, step)

    def _resume(self, turn: Turn, ticket: Ticket, step: Object) -> None:
        """The last approval of a call runs it, the first denial ends it."""
        runtime = self.runtime
        if step["approved"] and ticket.waiting.open:
            return
        for other in [t for t in runtime.tickets.values() if t.waiting is ticket.waiting]:
            del runtime.tickets[other.approval_id]
        pending = [t for t in runtime.tickets.values() if t.session == turn.session]
        turn.pending_others = sum(t.branch == turn.branch for t in pending)
        if step["approved"]:
            decision = {"allowed": [ticket.capability], "requires_approval": [], "denied": []}
            self.output.policy_decisions.append({"requested": [ticket.capability], "decision": decision})
            turn.phase("execute")
            turn.execute(ticket.call)
            turn.trip()
        else:
            text = f"approval denied by {step['actor']}: no reason given"
            turn.set_mode(estimate(turn.vector, turn.pending_others, turn.threshold), text)
            turn.fail_call(ticket.call, text)
        turn.end()

    # Everything else --------------------------------------------------------------------------------------

    def _record_external_event(self, step: Object) -> None:
        runtime, branch = self.runtime, step["branch"] or MAIN
        kind = step["kind"]
        runtime.session(step["session_id"])
        if runtime.rules("W83") and kind["type"] not in _FROM_OUTSIDE:
            raise Failed("", "Refused")
        for _ in range(step.get("repeat") or 1):
            runtime.append(step["session_id"], branch, dict(kind))

    def _read_events(self, step: Object) -> Any:
        first, limit = max(step["from_sequence"], 1), step["limit"]
        told = self.runtime.log(step["session_id"], step["branch"] or MAIN)
        events = list(enumerate((event.kind for event in told), 1))[first - 1 : first - 1 + limit]
        if step.get("full"):
            return [{"sequence": sequence, "kind": kind} for sequence, kind in events]
        return [[sequence, kind["type"]] for sequence, kind in events]

    def _session_exists(self, step: Object) -> bool:
        return step["session_id"] in self.runtime.sessions

    def _list_sessions(self, step: Object) -> list[str]:
        return sorted(self.runtime.sessions)

    def _policy_evaluate(self, step: Object) -> Any:
        decision = evaluate(self.runtime.session(step["session_id"]).policy, step["capabilities"])
        names = ("allowed", "requires_approval", "denied")
        return {name: list(getattr(decision, name)) for name in names}

    def _inject_fault(self, step: Object) -> None:
        self.runtime.inject(step["fault"])

    def _restart(self, step: Object) -> None:
        self.runtime.restart(keep_approvals=step["keep_approvals"])

    def _write_file(self, step: Object) -> None:
        """Outside the reference, but for a file in the place of a folder that is written to."""
        match step["path"].split("/"):
            case ["root", "sessions", session, "state"]:
                self.runtime.broken.add(session)

    def _nothing(self, step: Object) -> None:
        """What is done to files that the reference does not look at."""

    _append_file = _delete_path = _switch_runtime = _nothing

    def _store_append(self, step: Object) -> None:
        """Somebody else writes to the log; ours is fenced against that."""
        if not self.runtime.rules("W63"):
            told = Told(self.runtime.step, dict(step["kind"]))
            self.runtime.account.append(step["session_id"], step["branch"], told)

    def _store_head(self, step: Object) -> int:
        return len(self.runtime.log(step["session_id"], step["branch"]))


_FROM_OUTSIDE = ("UserMessage", "ExternalSignal")
"""Of the kinds that these traces record from outside, those that may come from there."""
