"""Live services in a world of a real broker: a trace is played by a client, and told as the log is read."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import anyio
import msgspec

from tests.kit.system import System, system
from tests.kit.waiting import eventually
from tests.parity.account import Account, Json, Output
from tests.parity.live_chain import own
from tests.parity.live_ports import PROPS, Lines, Overheard, Stage, placed, staged
from tests.parity.narration import Narrator
from tests.parity.ports import config
from tests.parity.script import Files, Script
from tests.parity.trace import Object, Trace, addressed
from tests.parity.workshop import Workshop
from vagus.contract import policy
from vagus.contract.errors import SessionNotFound, VagusError
from vagus.contract.events import ApprovalRequested, ApprovalResolved
from vagus.contract.ids import MAIN
from vagus.contract.models import ModelRouting
from vagus.contract.outcome import tick_output
from vagus.contract.policy import PolicySet
from vagus.contract.sessions import SessionManifest, TickOutput
from vagus.contract.subjects import Subjects
from vagus.contract.tools import ToolCall
from vagus.sdk.session import Session
from vagus_kernel.evolve import evolve
from vagus_kernel.state import Session as Folded

STEP_S = 30
"""Longer than any step takes."""


class LiveWorld:
    """Plays one trace."""

    def __init__(self, trace: Trace, whole: System, overheard: Overheard, lines: Lines, stage: Stage) -> None:
        self.trace = trace
        self.account = Account()
        self._narrator = Narrator(self.account)
        self._whole = whole
        self._client = whole.client
        self._overheard, self._lines, self._stage = overheard, lines, stage
        self._files = Files()
        self._number = 0
        self._folded: dict[str, Folded | None] = {}
        """What has been read of each session, in the order in which they were created."""
        self._cursors: dict[str, int] = {}
        self._manifests: dict[str, SessionManifest] = {}
        self._reading = anyio.Lock()

    async def play(self) -> Account:
        """All steps; each log must prove whole at the end."""
        for number, step in enumerate(self.trace.steps):
            self._number = number
            with anyio.fail_after(STEP_S):
                await self._step(step)
        for session in self._folded:
            assert (await (await self._client.session(session)).verify()).ok
        return placed(self.account, self._whole.root.parent)

    async def _step(self, step: Object) -> None:
        self._stage.script = Script(self._files)
        output = self._overheard.output = Output(step["op"])
        self.account.outputs.append(output)
        handler = getattr(self, f"_{step['op']}")
        try:
            output.ok = await handler(addressed(step, self._folded))
        except VagusError as error:
            output.error, output.error_type = error.message, error.type
        await self._overheard.settled()
        await self._read()

    async def _read(self) -> None:
        """Tell what is new in all logs."""
        async with self._reading:
            for session_id in self._folded:
                await self._read_log(session_id)

    async def _read_log(self, session_id: str) -> None:
        session = await self._client.session(session_id)
        if session_id not in self._manifests:
            self._manifests[session_id] = (await session.summary()).manifest
        manifest = self._manifests[session_id]
        async for event in session.history(cursor=self._cursors.get(session_id)):
            self._narrator.tell(self._number, event.record, manifest)
            self._folded[session_id] = evolve(self._folded[session_id], event.record)
            self._cursors[session_id] = event.cursor

    async def _restart(self, step: Object) -> None:
        """The only kernel is stopped, and another takes over."""
        kernel = next(name for name in self._whole.services if name.startswith("kernel"))
        await self._whole.services.pop(kernel).drain()
        await self._whole.start("kernel", f"kernel-{self._number}")

    async def _write_file(self, step: Object) -> None:
        """Files changed behind the original's back are not looked at here."""

    # Sessions and branches --------------------------------------------------------------------------------

    async def _create_session(self, step: Object) -> Json:
        routing = step.get("routing")
        session = await self._client.create_session(
            owner=step["owner"],
            policy=msgspec.convert(step["policy"], PolicySet),
            session_id=step.get("session_id"),
            model_routing=None if routing is None else msgspec.convert(routing, ModelRouting),
        )
        self._folded.setdefault(session.id, None)
        return _plain((await session.summary()).manifest)

    async def _create_branch(self, step: Object) -> Json:
        session, parent = await self._session(step), step["from_branch"] or MAIN
        fork = step["fork_sequence"]
        if fork is not None:
            fork = self._narrator.numbering.ours(session.id, parent, fork)
        info = await session.create_branch(step["branch"], from_branch=parent, fork_sequence=fork)
        await self._read()
        return self._narrator.branch(session.id, _plain(info))

    async def _merge_branch(self, step: Object) -> Json:
        session = await self._session(step)
        merged = _plain(await session.merge_branch(step["source"], into=step["target"]))
        await self._read()
        for side in ("source", "target"):
            head = f"{side}_head_sequence"
            merged[head] = self._narrator.numbering.told(session.id, step[side], merged[head])
        return merged

    async def _list_branches(self, step: Object) -> Json:
        session = await self._session(step)
        return [self._narrator.branch(session.id, _plain(info)) for info in await session.branches()]

    async def _record_external_event(self, step: Object) -> None:
        session = await self._session(step)
        for _ in range(step.get("repeat") or 1):
            await session.record_event(step["kind"], branch=step["branch"] or MAIN)

    async def _session(self, step: Object) -> Session:
        return await self._client.session(step["session_id"])

    # Ticks ------------------------------------------------------------------------------------------------

    async def _tick(self, step: Object) -> Json:
        self._direct(step)
        self._stage.patch = step.get("patch") or {}
        return await self._one(step)

    async def _concurrent(self, step: Object) -> Json:
        for tick in step["ticks"]:
            self._direct(tick)
        told: list[Json] = [None] * len(step["ticks"])

        async def caught(place: int, tick: Object) -> None:
            await anyio.sleep((tick.get("start_delay_ms") or 0) / 1000)
            try:
                told[place] = {"ok": await self._one(tick)}
            except VagusError as error:
                told[place] = {"error": error.message}

        async with anyio.create_task_group() as ticks:
            for place, tick in enumerate(step["ticks"]):
                ticks.start_soon(caught, place, tick)
        return told

    def _direct(self, step: Object) -> None:
        self._stage.script.add(step["session_id"], step["branch"] or MAIN, step)
        self._lines.write(self._stage.script)

    async def _one(self, step: Object) -> Json:
        session, tool = await self._session(step), step.get("proposed_tool")
        output = await session.tick(
            step["objective"],
            tool=None if tool is None else msgspec.convert(tool, ToolCall),
            branch=step["branch"] or MAIN,
            system_prompt=step.get("system_prompt"),
            allowed_tools=step.get("allowed_tools"),
        )
        await self._read()
        return self._told_output(output)

    def _told_output(self, output: TickOutput) -> Json:
        """What the caller was given; the log must say the same of the tick."""
        last = next(
            r
            for r in self._narrator.records
            if (r.session_id, r.branch_id, r.sequence)
            == (output.session_id, output.branch_id, output.last_sequence)
        )
        events = [r for r in self._narrator.records if r.correlation_id == last.correlation_id]
        assert tick_output(events) == output
        return {
            "session_id": output.session_id,
            "mode": output.mode.value,
            "state": _plain(output.state),
            "events_emitted": output.events_emitted,
            "last_sequence": self._narrator.numbering.told(
                output.session_id, output.branch_id, output.last_sequence
            ),
        }

    # Tickets ----------------------------------------------------------------------------------------------

    async def _list_pending(self, step: Object) -> Json:
        """The approver follows the log at its own pace: what it lists in the end."""
        fields = ("approval_id", "session_id", "call_id", "tool_name", "capability", "reason", "created_at")
        session_id = step["session_id"]

        async def listed() -> list[Json]:
            return [_plain(ticket) for ticket in await self._client.approvals(session_id)]

        async def settled() -> bool:
            return {ticket["approval_id"] for ticket in await listed()} == self._pending(session_id)

        await eventually(settled)
        return [{name: ticket[name] for name in fields} for ticket in await listed()]

    async def _resolve_approval(self, step: Object) -> None:
        asked = step.get("approval_id") or self._tickets()[step["approval_index"]]

        async def known() -> bool:
            return asked in {ticket.approval_id for ticket in await self._client.approvals()}

        if any(asked in self._pending(session_id) for session_id in self._folded):
            await eventually(known)
        answer = self._client.approve if step["approved"] else self._client.deny
        await answer(asked, actor=step["actor"])
        await eventually(lambda: self._resumed(asked))

    async def _resumed(self, asked: str) -> bool:
        """Whether the log holds the answer, and all that followed from it."""
        await self._read()
        kinds = [record.kind for record in self._narrator.records]
        answered = any(isinstance(kind, ApprovalResolved) and kind.approval_id == asked for kind in kinds)
        return answered and not any(
            branch.turn
            for session in self._folded.values()
            if session
            for branch in session.branches.values()
        )

    def _tickets(self) -> list[str]:
        """Every one that was ever asked for, in order."""
        kinds = (record.kind for record in self._narrator.records)
        return [kind.approval_id for kind in kinds if isinstance(kind, ApprovalRequested)]

    def _pending(self, session_id: str) -> set[str]:
        session = self._folded.get(session_id)
        calls = [call for branch in session.branches.values() for call in branch.waiting] if session else []
        return {ticket.approval_id for call in calls for ticket in call.tickets if ticket.decision is None}

    # Looking ----------------------------------------------------------------------------------------------

    async def _read_events(self, step: Object) -> Json:
        told = self.account.events.get(step["session_id"], {}).get(step["branch"] or MAIN, [])
        first, limit = max(step["from_sequence"], 1), step["limit"]
        events = list(enumerate((event.kind for event in told), 1))[first - 1 : first - 1 + limit]
        if step.get("full"):
            return [{"sequence": sequence, "kind": kind} for sequence, kind in events]
        return [[sequence, kind["type"]] for sequence, kind in events]

    async def _session_exists(self, step: Object) -> bool:
        try:
            await self._session(step)
        except SessionNotFound:
            return False
        return True

    async def _list_sessions(self, step: Object) -> list[str]:
        async def listed() -> list[str]:
            return sorted(summary.manifest.session_id for summary in await self._client.sessions())

        async def settled() -> bool:
            return await listed() == sorted(self._folded)

        await eventually(settled)
        return await listed()

    async def _policy_evaluate(self, step: Object) -> Json:
        held = await (await self._session(step)).policy()
        return _plain(policy.evaluate(held.policy, step["capabilities"]))


@asynccontextmanager
async def live_world(trace: Trace, url: str, subjects: Subjects, folder: Path) -> AsyncIterator[LiveWorld]:
    """All services with the settings of a trace, on names of their own."""
    asked, lines, overheard = config(trace), Lines(folder / "lines.json"), Overheard()
    tools = () if trace.baseline else Workshop(trace, folder).definitions
    settings = {
        "checkpoint_every_ticks": asked.checkpoint_every_ticks,
        "circuit_breaker_errors": asked.circuit_breaker_errors,
        "enforce_budget": "false",
        "loop_detection": str(asked.loop_detection).lower(),
        "loop_hard_stop": asked.loop_hard_stop,
        "loop_warning": asked.loop_warning,
        "loop_window": asked.loop_window,
        "middlewares": ",".join(f"{PROPS}:middleware_{place}" for place in range(len(own(trace)))),
        "provider": "baseline" if trace.baseline else f"scripted:{lines.path}",
        "tools": PROPS if tools else "",
        "workspace_tools": str(trace.baseline).lower(),
    }
    services = "gate approver runner kernel" if tools or trace.baseline else "gate approver kernel"
    with staged(trace, overheard, lines, tools) as stage:
        async with system(url, subjects, folder, services=services, **settings) as whole:
            await overheard.listen(whole.client.bus, subjects)
            yield LiveWorld(trace, whole, overheard, lines, stage)


def _plain(value: object) -> Any:
    return msgspec.json.decode(msgspec.json.encode(value))
