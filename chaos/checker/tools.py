"""Tool calls: each has one end, and ran only if the gate had said so."""

from base64 import urlsafe_b64decode
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Final

import msgspec
from blake3 import blake3

from chaos.checker.event import (
    CallGranted,
    Event,
    PolicyEvaluated,
    ToolCallCompleted,
    ToolCallFailed,
    ToolCallRequested,
    ToolCallStarted,
)
from chaos.checker.report import Notes, Rule

BUDGET: Final = "budget"
"""The rule of a verdict that refuses a call since the budget for calls is spent."""


@dataclass(slots=True, eq=False)
class Call:
    """A call, from its request on."""

    requested: Event
    kind: ToolCallRequested
    tickets: list[str] = field(default_factory=list)
    verdict: PolicyEvaluated | None = None
    """The latest."""
    granted: bool = False
    started: bool = False
    ended: Event | None = None
    status: str = ""
    """Of a completed one."""

    @property
    def run_id(self) -> str:
        """Of its tool run."""
        return self.requested.event_id

    @property
    def branch(self) -> str:
        """On which it was made."""
        return self.requested.branch_id


class _Grant(msgspec.Struct, frozen=True):
    session_id: str
    branch_id: str
    tool_run_id: str
    call_hash: str


class Calls:
    """Of one session."""

    def __init__(self, notes: Notes) -> None:
        self._notes = notes
        self._runs: dict[str, Call] = {}
        self._latest: dict[tuple[str, str], Call] = {}
        """By branch and call id."""
        self._current: dict[str, Call] = {}
        """By branch: the one that verdicts are about."""

    def __len__(self) -> int:
        return len(self._runs)

    def __iter__(self) -> Iterator[Call]:
        return iter(self._runs.values())

    def find(self, branch: str, call_id: str) -> Call | None:
        """The branch's latest call with this id."""
        return self._latest.get((branch, call_id))

    def run(self, run_id: str) -> Call | None:
        """The call that was requested as this tool run."""
        return self._runs.get(run_id)

    def resume(self, call: Call) -> None:
        """People have answered: the next verdict is about this call."""
        self._current[call.branch] = call

    def take(self, event: Event) -> None:
        """One event."""
        match event.kind:
            case ToolCallRequested() as kind:
                self._request(event, kind)
            case PolicyEvaluated() as kind:
                self._judge(event, kind)
            case CallGranted() as kind:
                self._grant(event, kind)
            case ToolCallStarted(tool_run_id=run_id):
                self._start(event, run_id)
            case ToolCallCompleted() as kind:
                self._complete(event, kind)
            case ToolCallFailed(call_id=call_id):
                self._end(event, call_id)

    def end(self, *, besides: Callable[[Call], bool]) -> None:
        """The log ends here: so must the calls have, besides those of which something else is said."""
        for call in self:
            if call.ended is None and not besides(call):
                self._notes.say(Rule.CALL, f"{_name(call)} has no end", call.requested)

    def _request(self, event: Event, kind: ToolCallRequested) -> None:
        earlier = self.find(event.branch_id, kind.call_id)
        if earlier is not None and earlier.ended is None:
            at, earlier.ended = earlier.requested.sequence, event  # say it once
            self._notes.say(
                Rule.CALL, f"the call {kind.call_id} of {at} has not ended, and is made again", event
            )
        call = Call(event, kind)
        self._runs[call.run_id] = self._latest[event.branch_id, kind.call_id] = call
        self._current[event.branch_id] = call

    def _judge(self, event: Event, kind: PolicyEvaluated) -> None:
        call = self._current.get(event.branch_id)
        if call is None or call.ended is not None:
            self._notes.say(Rule.CALL, f"a verdict on {kind.tool_name}, and no call waits for one", event)
            return
        call.verdict = kind

    def _grant(self, event: Event, kind: CallGranted) -> None:
        call = self._runs.get(kind.tool_run_id)
        if call is None:
            self._notes.say(
                Rule.GRANT, f"a grant for the tool run {kind.tool_run_id}, which nobody requested", event
            )
            return
        call.granted = True
        verdict = call.verdict
        if verdict is None or verdict.decision != "allow" or verdict.tool_name != call.kind.tool_name:
            said = verdict.decision if verdict is not None else "nothing"
            self._notes.say(Rule.GRANT, f"{_name(call)} is granted, and the verdict on it was {said}", event)
        for field_name, said, due in _faults(kind.grant, call):
            text = f"the grant of {_name(call)} is for {field_name} {said!r}, the call has {due!r}"
            self._notes.say(Rule.GRANT, text, event)

    def _start(self, event: Event, run_id: str) -> None:
        call = self._runs.get(run_id)
        if call is None:
            self._notes.say(Rule.CALL, f"the tool run {run_id} starts, and nobody requested it", event)
            return
        if call.started:
            self._notes.say(Rule.CALL, f"{_name(call)} starts a second time", event)
        call.started = True
        self._must_be_granted(event, call)

    def _complete(self, event: Event, kind: ToolCallCompleted) -> None:
        call = self._end(event, kind.call_id)
        if call is None:
            return
        if call.run_id != kind.tool_run_id:
            text = f"{_name(call)} is completed as tool run {kind.tool_run_id}, and is {call.run_id}"
            self._notes.say(Rule.CALL, text, event)
        self._must_be_granted(event, call)
        call.status = kind.status

    def _end(self, event: Event, call_id: str) -> Call | None:
        """The call that this ends, None if it ends none."""
        call = self.find(event.branch_id, call_id)
        if call is None:
            self._notes.say(Rule.CALL, f"the call {call_id} ends, and nobody made it on this branch", event)
            return None
        if call.ended is not None:
            text = f"{_name(call)} ends a second time, first by {call.ended.type} at {call.ended.sequence}"
            self._notes.say(Rule.CALL, text, event)
            return None
        call.ended = event
        return call

    def _must_be_granted(self, event: Event, call: Call) -> None:
        if not call.granted:
            call.granted = True  # say it once
            self._notes.say(Rule.GRANT, f"{_name(call)} ran without a grant on the log", event)


def _name(call: Call) -> str:
    return f"the call {call.kind.call_id} of {call.kind.tool_name}"


def _faults(token: str, call: Call) -> list[tuple[str, str, str]]:
    """What a grant says of its call that is not so: field, what it says, what the call has."""
    request = call.requested
    try:
        payload = token.partition(".")[0]
        grant = msgspec.json.decode(urlsafe_b64decode(payload + "=" * (-len(payload) % 4)), type=_Grant)
    except (ValueError, msgspec.MsgspecError):
        return [("something that cannot be read,", token[:20], call.run_id)]
    due = {
        "session_id": request.session_id,
        "branch_id": request.branch_id,
        "tool_run_id": call.run_id,
        "call_hash": _call_hash(call.kind),
    }
    return [(name, said, value) for name, value in due.items() if (said := getattr(grant, name)) != value]


def _call_hash(kind: ToolCallRequested) -> str:
    """Over input and name; the input stands on the log as it is hashed, with its keys sorted."""
    name = msgspec.json.encode(kind.tool_name)
    return "blake3:" + blake3(b'{"input":%b,"tool_name":%b}' % (bytes(kind.arguments), name)).hexdigest()
