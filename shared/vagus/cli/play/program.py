"""What happens in the demo, act by act."""

import sys
from typing import Final

import anyio
import msgspec

from vagus.cli.asking import whoami
from vagus.cli.play.prompt import allowed_at_terminal
from vagus.cli.play.stage import stage
from vagus.cli.play.watcher import WAIT_S, Watcher, watching
from vagus.cli.render import play as render
from vagus.cli.render.timeline import Coloured, Plain, Timeline
from vagus.contract.approvals import ApprovalTicket
from vagus.contract.errors import OutcomeUnknown, VagusError
from vagus.contract.events import ToolCallCompleted, ToolCallFailed, ToolCallRequested
from vagus.contract.policy import PolicySet
from vagus.contract.sessions import BranchInfo, TickOutput
from vagus.sdk.client import Client
from vagus.sdk.session import Session

SESSION: Final = "demo"
OBJECTIVE: Final = "Write a haiku about nerves, check it, and publish it."
SECOND: Final = "Try a limerick instead."
FORK: Final = "limerick"
POLL_S: Final = 0.05
POLICY: Final = PolicySet(
    allow_capabilities=("fs:read:/session/**", "fs:write:/session/artifacts/**", "exec:cmd:grep"),
    gate_capabilities=("fs:write:/session/outbox/**",),
    max_tool_runtime_secs=10,
    max_events_per_turn=256,
)
"""Reading, writing under artifacts/ and grep are allowed; the outbox needs a person; nothing else is."""


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """What the demo did."""

    session_id: str
    text: str
    """The model's last words on main."""
    approved: bool
    approved_by: str
    """`terminal`, or `demo` where there was none to ask at."""
    ticks: int
    tool_calls: int
    calls_ok: int
    calls_refused: int
    events: int
    commits: int
    branches: tuple[BranchInfo, ...]
    verified: bool
    problems: tuple[str, ...]
    ready_s: float
    """From the start until all processes were ready."""
    seconds: float
    """Of the whole."""


async def play(server: str, *, ask: bool, watch: bool) -> Report:
    """Play it all once.

    Args:
        server: URL of a server to use, under names of the demo's own; empty: one is embedded.
        ask: Ask at the terminal, if there is one, before the call that needs approval.
        watch: Show what happens.

    Raises:
        VagusError: Something did not go as it should.
    """
    began = anyio.current_time()
    if watch:
        render.opening(server)
    async with stage(server) as (supervisor, client):
        ready = anyio.current_time() - began
        if watch:
            render.ready(supervisor, ready)
        session = await client.create_session(owner=whoami(), policy=POLICY, session_id=SESSION)
        async with watching(session, _timeline() if watch else None) as watcher:
            acts = Acts(client, session, watcher, ask=ask, watch=watch)
            text = await acts.objective()
            await acts.fork()
            report = await acts.report(text, ready_s=ready, began=began)
    return report


class Acts:
    """The acts, in order."""

    def __init__(self, client: Client, session: Session, watcher: Watcher, *, ask: bool, watch: bool) -> None:
        self._client = client
        self._session = session
        self._watcher = watcher
        self._ask = ask and sys.stdin.isatty() and sys.stdout.isatty()
        self._watch = watch
        self._approved = False

    async def objective(self) -> str:
        """One objective: a file written and read, a command, a denial, and a call that needs a person."""
        await self._watcher.shown()
        self._heading("An objective", "the model is scripted; tools, policy and people are real")
        output = await self._session.run(OBJECTIVE)
        _expect(output, "awaiting_approval")
        await self._watcher.shown(sequence=output.last_sequence)
        turns = self._watcher.turns
        for ticket in await self._tickets(output):
            await self._answer(ticket)
        await self._watcher.turn_ended(turns)
        output = await self._session.run("")
        _expect(output, "completed")
        await self._watcher.shown(sequence=output.last_sequence)
        return output.text

    async def fork(self) -> None:
        """Another way is tried on a branch, and merged."""
        self._heading("A fork", "same past, another future; then merged")
        await self._session.create_branch(FORK)
        output = await self._session.tick(SECOND, branch=FORK)
        _expect(output, "completed")
        await self._watcher.shown(FORK, sequence=output.last_sequence)
        merged = await self._session.merge_branch(FORK)
        await self._watcher.shown(sequence=merged.target_head_sequence)

    async def report(self, text: str, *, ready_s: float, began: float) -> Report:
        """Count what happened and check the log."""
        summary, checked = await self._session.summary(), await self._session.verify()
        kinds = [event.kind for event in self._watcher.events]
        return Report(
            session_id=SESSION,
            text=text,
            approved=self._approved,
            approved_by="terminal" if self._ask else "demo",
            ticks=summary.tick_count,
            tool_calls=sum(isinstance(kind, ToolCallRequested) for kind in kinds),
            calls_ok=sum(isinstance(kind, ToolCallCompleted) and kind.status == "ok" for kind in kinds),
            calls_refused=sum(isinstance(kind, ToolCallFailed) for kind in kinds),
            events=checked.events,
            commits=checked.commits,
            branches=summary.branches,
            verified=checked.ok,
            problems=checked.problems,
            ready_s=round(ready_s, 2),
            seconds=round(anyio.current_time() - began, 2),
        )

    async def _tickets(self, output: TickOutput) -> list[ApprovalTicket]:
        """The tickets that the tick waits for, once the approver has made them."""
        wanted = {pending.approval_id for pending in output.pending_approvals}
        with anyio.move_on_after(WAIT_S):
            while True:
                tickets = await self._client.approvals(SESSION)
                if wanted == {ticket.approval_id for ticket in tickets}:
                    return tickets
                await anyio.sleep(POLL_S)
        raise OutcomeUnknown(f"the approver has not asked within {WAIT_S:g} s")

    async def _answer(self, ticket: ApprovalTicket) -> None:
        if self._watch:
            render.asked(ticket, at_terminal=self._ask)
        allowed = await allowed_at_terminal() if self._ask else True
        if allowed:
            self._approved = True
            await self._client.approve(ticket.approval_id, actor=whoami(), reason="shown in the demo")
        else:
            await self._client.deny(ticket.approval_id, actor=whoami(), reason="said no in the demo")

    def _heading(self, title: str, words: str) -> None:
        if self._watch:
            render.heading(title, words)


def _timeline() -> Timeline:
    return Coloured(brief=True) if sys.stdout.isatty() else Plain(brief=True)


def _expect(output: TickOutput, reason: str) -> None:
    if output.reason != reason:
        raise VagusError(
            f"the demo went another way: {output.reason} instead of {reason} ({output.error or 'no error'})"
        )
