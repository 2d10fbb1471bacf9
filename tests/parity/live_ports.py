"""What stands at the ports of live processes: a scripted provider's file, scripted tools, and a listener."""

import json
import sys
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

import msgspec
import pytest

from tests.kit.waiting import eventually
from tests.parity.account import Account, Json, Output
from tests.parity.live_chain import middleware, own
from tests.parity.script import DECLARED, Files, Script, error_text
from tests.parity.trace import Object, Trace
from vagus.contract.errors import HarnessError, ToolFailure
from vagus.contract.messages import GateRequest, Role, ToolRequest, Verdict
from vagus.contract.models import ModelCompletionRequest
from vagus.contract.subjects import Subjects
from vagus.contract.tools import ToolDefinition
from vagus.runtime.bus import Bus, Message
from vagus.tools import Tool, ToolContext
from vagus_kernel.providers.baseline import Baseline
from vagus_kernel.providers.scripted import Scripted

PROPS = "tests.parity.props"
"""The module that the runner loads its tools from, and the kernel its middlewares; anew for every trace."""


class Overheard:
    """What the processes say to each other, put into the output of the step that is played."""

    def __init__(self) -> None:
        self.output = Output("")
        self.calls: dict[str, Object] = {}
        """Calls that runners were asked to run, by tool run id."""
        self._asked: dict[str, tuple[str, ...]] = {}
        """What the gate is asked for, by effect; its answer may be heard before."""
        self._answered: dict[str, Verdict] = {}

    async def listen(self, bus: Bus, subjects: Subjects) -> None:
        """Begin. Each process is heard in the order in which it speaks, two of them in any."""
        await bus.subscribe_callback(subjects.gate(), self._gate)
        await bus.subscribe_callback(subjects.inbox(Role.VERDICT, "*"), self._verdict)
        await bus.subscribe_callback(subjects.tool(), self._tool)

    async def settled(self) -> None:
        """Wait until the gate's answer to everything that it was asked is heard."""
        await eventually(lambda: self._asked.keys() == self._answered.keys())

    def model(self, request: ModelCompletionRequest) -> None:
        """The kernel asks the model."""
        told = _plain(request)
        told.pop("call_index", None)
        self.output.model_requests.append(told)

    def _gate(self, message: Message) -> None:
        request = msgspec.json.decode(message.data, type=GateRequest)
        self._asked[request.effect_id] = request.call.requested_capabilities
        self._tell_decision(request.effect_id)

    def _verdict(self, message: Message) -> None:
        verdict = msgspec.json.decode(message.data, type=Verdict)
        self._answered[verdict.effect_id] = verdict
        self._tell_decision(verdict.effect_id)

    def _tell_decision(self, effect_id: str) -> None:
        requested, verdict = self._asked.get(effect_id), self._answered.get(effect_id)
        if requested is None or verdict is None:
            return
        decision = {
            "allowed": verdict.allowed,
            "requires_approval": verdict.requires_approval,
            "denied": verdict.denied,
        }
        self.output.policy_decisions.append({"requested": requested, "decision": decision})

    def _tool(self, message: Message) -> None:
        request = msgspec.json.decode(message.data, type=ToolRequest)
        call = self.calls[request.tool_run_id] = _plain(request.call)
        place = {"session_id": request.session_id, "workspace_root": request.workspace_root}
        self.output.tool_requests.append({**place, "call": call})


class Lines:
    """The file of the scripted provider: the n-th call on a branch gets the n-th answer."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._said: dict[str, int] = {}
        path.write_text("{}")

    def count(self, request: ModelCompletionRequest) -> None:
        """The model is asked on a branch."""
        self._said[f"{request.session_id}/{request.branch_id}"] = request.call_index + 1

    def write(self, script: Script) -> None:
        """What the model says from now on; what it was to say before and was not asked is gone."""
        answers = {f"{session}/{branch}": queue for (session, branch), queue in script.answers.items()}
        nothing = {"error": error_text({"kind": "Runtime", "message": "no scripted completion"})}
        lines = {
            key: [nothing] * self._said.get(key, 0)
            + [_answer(said) for said in answers.get(key, ())]
            + [nothing]
            for key in {*self._said, *answers, "*"}
        }
        self.path.write_text(json.dumps(lines))


class Prop(Tool[..., Any]):
    """A tool that takes any input and reports what the step scripts."""

    def __init__(self, name: str, stage: "Stage") -> None:
        definition = ToolDefinition(name=name)
        super().__init__(_nothing, definition)
        self.definition = msgspec.structs.replace(self.definition, input_schema={}, output_schema=None)
        self.mutates = (DECLARED[name],) if name in DECLARED else ()
        self._stage = stage

    async def invoke(self, arguments: Json, context: ToolContext) -> Json:
        """The next report."""
        return await self._stage.perform(context)


class Stage:
    """All tools of a trace, and the script of the step that is played."""

    def __init__(self, overheard: Overheard) -> None:
        self.script = Script(Files())
        self.patch: Object = {}
        """What a middleware changes of the state in this step."""
        self._overheard = overheard

    async def perform(self, context: ToolContext) -> Json:
        """One run of a tool."""
        call = await eventually(lambda: self._overheard.calls.get(context.tool_run_id, {}))
        report, error = self.script.run(context.session_id, call)
        if report is None:
            raise HarnessError(error or "")
        outcome = report["outcome"]
        if outcome["status"] == "success":
            assert report["exit_status"] == 0, "a tool cannot report a success otherwise"
            return outcome["output"]
        raise ToolFailure(outcome["error"], report["exit_status"])


@contextmanager
def staged(trace: Trace, overheard: Overheard, lines: Lines, tools: Iterable[str]) -> Iterator[Stage]:
    """The module of tools and middlewares is there, and the providers are listened to."""
    stage, props = Stage(overheard), ModuleType(PROPS)
    for name in tools:
        setattr(props, name, Prop(name, stage))
    for place, described in enumerate(own(trace)):
        setattr(props, f"middleware_{place}", middleware(described, lambda: stage.patch))
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(sys.modules, PROPS, props)
        for provider in (Scripted, Baseline):
            patch.setattr(provider, "complete", _listening(provider.complete, overheard, lines))
        yield stage


def placed(account: Account, folder: Path) -> Account:
    """The account with a placeholder for the folder of this run."""
    told = msgspec.json.encode(account).replace(str(folder).encode(), b"<path>")
    return msgspec.json.decode(told, type=Account)


def _listening(complete: Any, overheard: Overheard, lines: Lines) -> Any:
    async def listened(self: object, request: ModelCompletionRequest) -> Any:
        overheard.model(request)
        lines.count(request)
        return await complete(self, request)

    return listened


def _answer(said: Object) -> Mapping[str, Json]:
    wait = {"delay_ms": said.get("sleep_ms") or 0}
    return {**wait, "error": error_text(said["error"])} if "error" in said else {**wait, **said["completion"]}


def _nothing() -> None:
    """A prop has no function of its own."""


def _plain(value: object) -> Any:
    return msgspec.json.decode(msgspec.json.encode(value))
