"""One session, as a client holds it."""

from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import aclosing
from datetime import datetime, timedelta
from functools import partial
from typing import Final, TypedDict, overload
from uuid import uuid4

from vagus.contract import limits
from vagus.contract.commands import (
    Cancel,
    CancelTick,
    Close,
    CloseSession,
    CreateBranch,
    ExtendBudget,
    ExternalEvent,
    ListSchedules,
    Merge,
    MergeBranch,
    NewBranch,
    NewPolicy,
    RecordEvent,
    Restore,
    RestoreCheckpoint,
    Schedule,
    SetPolicy,
    Tick,
    Unschedule,
)
from vagus.contract.errors import BranchNotFound, InvalidId, Malformed, Refused
from vagus.contract.events import EventRecord
from vagus.contract.ids import MAIN, check_id
from vagus.contract.json import Json
from vagus.contract.policy import PolicyInForce, PolicySet
from vagus.contract.replies import PolicyVersion, Recorded
from vagus.contract.schedules import Dropped, DropSchedule, NewSchedule, Scheduled, Schedules, Timing
from vagus.contract.sessions import (
    BranchInfo,
    BranchMergeResult,
    BudgetExtension,
    SessionSummary,
    TickInput,
    TickOutput,
)
from vagus.contract.state import BudgetState
from vagus.contract.tools import Priority, ToolCall
from vagus.runtime import clock
from vagus.runtime.eventlog import EventLog
from vagus.sdk.dispatch import Dispatch
from vagus.sdk.estimate import Estimate, estimate
from vagus.sdk.event import Event, events_of
from vagus.sdk.reading import check_session, read_branch
from vagus.sdk.registry import Registry
from vagus.sdk.schedules import again, once
from vagus.sdk.verification import Verification, verify

TICK_TIMEOUT_S: Final = 3600.0
"""How long a tick is waited for unless the caller says otherwise; the tick itself goes on."""
MOST_ID: Final = 128
"""Characters of a command id: it travels in a header."""


class _Envelope(TypedDict):
    """What all commands carry."""

    command_id: str
    session_id: str
    branch_id: str
    actor: str
    sent_at: str


class Session:
    """A session by its id; made by `Client.create_session` and `Client.session`. Has no state of its own."""

    def __init__(
        self, session_id: str, *, actor: str, dispatch: Dispatch, log: EventLog, registry: Registry
    ) -> None:
        self.id: Final = session_id
        self._actor = actor
        self._dispatch = dispatch
        self._log = log
        self._registry = registry

    def __repr__(self) -> str:
        return f"Session({self.id!r})"

    # Turns ------------------------------------------------------------------------------------------------

    @overload
    async def tick(
        self,
        objective: str,
        *,
        tool: ToolCall | None = ...,
        branch: str = ...,
        system_prompt: str | None = ...,
        allowed_tools: Sequence[str] | None = ...,
        priority: str = ...,
        command_id: str | None = ...,
        timeout_s: float = ...,
        at: None = ...,
        after: None = ...,
    ) -> TickOutput: ...
    @overload
    async def tick(
        self,
        objective: str,
        *,
        tool: ToolCall | None = ...,
        branch: str = ...,
        system_prompt: str | None = ...,
        allowed_tools: Sequence[str] | None = ...,
        priority: str = ...,
        command_id: str | None = ...,
        at: datetime,
    ) -> Scheduled: ...
    @overload
    async def tick(
        self,
        objective: str,
        *,
        tool: ToolCall | None = ...,
        branch: str = ...,
        system_prompt: str | None = ...,
        allowed_tools: Sequence[str] | None = ...,
        priority: str = ...,
        command_id: str | None = ...,
        after: timedelta | float,
    ) -> Scheduled: ...
    async def tick(
        self,
        objective: str,
        *,
        tool: ToolCall | None = None,
        branch: str = MAIN,
        system_prompt: str | None = None,
        allowed_tools: Sequence[str] | None = None,
        priority: str = Priority.NORMAL,
        command_id: str | None = None,
        timeout_s: float = TICK_TIMEOUT_S,
        at: datetime | None = None,
        after: timedelta | float | None = None,
    ) -> TickOutput | Scheduled:
        """Run one turn: one model call, or the given tool call instead of it, and what follows from it.

        With `at` or `after` it is stored to run then, and the call returns at once: once, however often
        processes and servers die meanwhile, and late if they were down.

        Args:
            objective: What the turn is about; may be empty to let the model go on.
            tool: A call to make without asking the model.
            branch: Where.
            system_prompt: For this turn.
            allowed_tools: Calls of other tools are refused; None allows all that the policy does.
            priority: Of its calls where they wait for a runner: `high`, `normal` or `low`.
            command_id: Repeating a tick with the same id does not run it again. None makes a new one. Of a
                tick for later it is the schedule's id as well, and looks like one of a session.
            timeout_s: How long to wait here; it does not end the tick.
            at: When to run it, with a time zone; at once if that is past.
            after: How long from now to run it, in seconds.

        Raises:
            SessionNotFound, BranchNotFound, BranchReadOnly: There is nothing to run it on.
            Busy: Too many ticks wait on the branch already.
            BudgetExceeded: A budget of the branch is spent; `extend_budget` adds to it.
            OutcomeUnknown: The tick is stored and has not ended within `timeout_s`.
            Refused: The session has as many schedules as it may.
        """
        tick = _tick_input(objective, tool, system_prompt, allowed_tools, priority)
        if at is not None or after is not None:
            return await self._schedule(once(at, after), tick, branch, command_id)
        command = Tick(**self._envelope(branch, command_id), tick=tick)
        return await self._dispatch.tick(command, timeout_s=timeout_s)

    async def run(
        self,
        objective: str,
        *,
        max_ticks: int = 10,
        branch: str = MAIN,
        system_prompt: str | None = None,
        allowed_tools: Sequence[str] | None = None,
        priority: str = Priority.NORMAL,
        timeout_s: float = TICK_TIMEOUT_S,
    ) -> TickOutput:
        """Tick until the model has answered, a person is needed, or a limit is met; returns the last output.

        The objective is said once. `timeout_s` bounds each tick. Raises as `tick`.
        """
        if max_ticks < 1:
            raise Malformed(f"max_ticks is {max_ticks}: it must be at least 1")
        tick = partial(
            self.tick,
            branch=branch,
            system_prompt=system_prompt,
            allowed_tools=allowed_tools,
            priority=priority,
            timeout_s=timeout_s,
        )
        output = await tick(objective)
        for _ in range(max_ticks - 1):
            if output.reason != "tool_calls":
                break
            output = await tick("")
        return output

    async def cancel(self, command_id: str | None = None, *, branch: str = MAIN) -> None:
        """End the tick with this command id, or whatever runs or waits on the branch. Idempotent."""
        body = CancelTick(command_id=command_id)
        await self._dispatch.ask(Cancel(**self._envelope(branch), cancel=body), object)

    # Schedules --------------------------------------------------------------------------------------------

    async def wake(
        self,
        objective: str,
        *,
        cron: str | None = None,
        every: timedelta | float | None = None,
        schedule_id: str | None = None,
        tool: ToolCall | None = None,
        branch: str = MAIN,
        system_prompt: str | None = None,
        allowed_tools: Sequence[str] | None = None,
        priority: str = Priority.NORMAL,
    ) -> Scheduled:
        """Tick again and again, until `unschedule`.

        Every tick has a command id of its own. What was missed while everything was down is made up for by
        one tick at most; a tick that is due while the one before it still waits for its turn is left out.

        Args:
            objective: What each turn is about.
            cron: Five fields, in UTC: minute, hour, day of the month, month, day of the week.
            every: Seconds between two ticks, at least one.
            schedule_id: A schedule that has it is replaced. None makes a new one.
            tool: As of `tick`, each time with a call id of its own; the others are as there, too.
            branch: Where.
            system_prompt: For these turns.
            allowed_tools: Calls of other tools are refused.
            priority: As of `tick`.

        Raises:
            Malformed: Not exactly one of `cron` and `every`, or one that says nothing.
            Refused: The session has as many schedules as it may.
        """
        tick = _tick_input(objective, tool, system_prompt, allowed_tools, priority)
        return await self._schedule(again(cron, every), tick, branch, schedule_id)

    async def schedules(self) -> list[Scheduled]:
        """All ticks for later and schedules that repeat, the next one first."""
        command = ListSchedules(**self._envelope(MAIN))
        return list((await self._dispatch.ask(command, Schedules)).schedules)

    async def unschedule(self, schedule_id: str) -> bool:
        """Drop a schedule; False if there is none of this id, as after it has fired. Idempotent.

        A tick of it that is in the session's inbox already still runs; `cancel` ends that.
        """
        body = DropSchedule(schedule_id=check_id("schedule id", schedule_id))
        command = Unschedule(**self._envelope(MAIN), unschedule=body)
        return (await self._dispatch.ask(command, Dropped)).dropped

    async def _schedule(
        self, when: Timing, tick: TickInput, branch: str, schedule_id: str | None
    ) -> Scheduled:
        body = NewSchedule(
            schedule_id=str(uuid4()) if schedule_id is None else check_id("schedule id", schedule_id),
            when=when,
            tick=tick,
        )
        return await self._dispatch.ask(Schedule(**self._envelope(branch), schedule=body), Scheduled)

    # The log ----------------------------------------------------------------------------------------------

    async def read_events(
        self, from_sequence: int = 1, limit: int = 200, *, branch: str = MAIN, lineage: bool = False
    ) -> list[EventRecord]:
        """Read a branch's events from a sequence on; at most `limit`.

        With `lineage` and from sequence 1, the parent's events up to the fork come first.
        """
        if from_sequence < 1 or limit < 0:
            raise Malformed(
                f"cannot read {limit} events from sequence {from_sequence}: sequences count from 1"
            )
        check_id("branch id", branch)
        return await read_branch(self._log, self.id, branch, from_sequence, limit, lineage=lineage)

    async def events(
        self, *, branch: str | None = None, cursor: int | None = None
    ) -> AsyncGenerator[Event, None]:
        """All events after `cursor` (None: from the first), then each as it is committed, without end.

        No gap and no duplicate, also across reconnects. `event.cursor` goes on after that event's commit.

        Args:
            branch: Of this branch only.
            cursor: Of the last event that was handled.
        """
        if branch is not None:
            check_id("branch id", branch)
        commits = self._log.follow(self.id, branch_id=branch, after=cursor or 0)
        async with aclosing(commits):
            async for commit in commits:
                for event in events_of(commit):
                    yield event

    async def history(
        self, *, branch: str | None = None, cursor: int | None = None
    ) -> AsyncGenerator[Event, None]:
        """As `events`, but ends at the log's present end."""
        if branch is not None:
            check_id("branch id", branch)
        await check_session(self._log, self.id)
        async for commit in self._log.commits(self.id, after=cursor or 0):
            if branch in (None, commit.branch_id):
                for event in events_of(commit):
                    yield event

    async def verify(self) -> Verification:
        """Check the whole log up to its present end; see `Verification`."""
        return await verify(self._log, self.id, await self._registry.known(self.id))

    async def record_event(self, event: Mapping[str, Json], *, branch: str = MAIN) -> int:
        """Record a fact from outside, such as `{"type": "ExternalSignal", …}`; returns its sequence.

        Raises `Refused` for kinds that only the kernel may say.
        """
        command = RecordEvent(
            **self._envelope(branch), record_event=ExternalEvent(event=dict(event), branch=branch)
        )
        return (await self._dispatch.ask(command, Recorded)).sequence

    # Branches ---------------------------------------------------------------------------------------------

    async def create_branch(
        self, branch: str, *, from_branch: str = MAIN, fork_sequence: int | None = None
    ) -> BranchInfo:
        """Fork a branch at a sequence of another (None: at its head).

        Raises:
            BranchExists, BranchNotFound, BranchReadOnly: As the names say.
            Refused: The fork sequence is beyond the source's head.
        """
        body = NewBranch(
            branch=check_id("branch id", branch),
            from_branch=check_id("branch id", from_branch),
            fork_sequence=fork_sequence,
        )
        return await self._dispatch.ask(
            CreateBranch(**self._envelope(branch), create_branch=body), BranchInfo
        )

    async def merge_branch(self, branch: str, *, into: str = MAIN, cancel: bool = False) -> BranchMergeResult:
        """Merge a branch into another; it is read-only afterwards.

        Refused while a tick runs or a ticket is pending on it; `cancel` ends those first.
        """
        body = Merge(branch=check_id("branch id", branch), into=check_id("branch id", into), cancel=cancel)
        return await self._dispatch.ask(
            MergeBranch(**self._envelope(into), merge_branch=body), BranchMergeResult
        )

    async def branches(self) -> list[BranchInfo]:
        """All branches, by name."""
        return list((await self.summary()).branches)

    # The session itself -----------------------------------------------------------------------------------

    async def summary(self) -> SessionSummary:
        """What the session is and where it stands, as of its log's present end."""
        return await self._registry.summary(self.id)

    async def estimate(self, branch: str = MAIN) -> Estimate:
        """The mode and state vector of a branch as its log tells them; raises `BranchNotFound`."""
        branches = {found.branch_id: found for found in await self.branches()}
        if branch not in branches:
            raise BranchNotFound(f"branch not found: {branch}")
        return await estimate(self._log, self.id, branches[branch], branches)

    async def policy(self) -> PolicyInForce:
        """The policy in force and its version."""
        return await self._registry.policy(self.id)

    async def set_policy(self, policy: PolicySet) -> int:
        """Replace the policy; calls evaluated from now on are held to it. Returns its version."""
        command = SetPolicy(**self._envelope(MAIN), set_policy=NewPolicy(policy=policy))
        return (await self._dispatch.ask(command, PolicyVersion)).version

    async def extend_budget(
        self,
        *,
        tokens: int = 0,
        time_ms: int = 0,
        cost_usd: float = 0.0,
        tool_calls: int = 0,
        errors: int = 0,
        branch: str = MAIN,
    ) -> BudgetState:
        """Add to a branch's budget; returns what it has then."""
        body = BudgetExtension(
            tokens=tokens,
            time_ms=time_ms,
            cost_usd=cost_usd,
            tool_calls=tool_calls,
            errors=errors,
            branch=branch,
        )
        return await self._dispatch.ask(
            ExtendBudget(**self._envelope(branch), extend_budget=body), BudgetState
        )

    async def restore(self, checkpoint_id: str, *, branch: str = MAIN) -> None:
        """Set a branch's state back to that of a checkpoint; the log keeps everything."""
        body = Restore(checkpoint_id=checkpoint_id)
        await self._dispatch.ask(RestoreCheckpoint(**self._envelope(branch), restore_checkpoint=body), object)

    async def close(self, reason: str, *, cancel: bool = False) -> None:
        """Close the session; it is read-only afterwards.

        Refused while ticks run or tickets are pending; `cancel` ends those first.
        """
        body = CloseSession(reason=reason, cancel=cancel)
        await self._dispatch.ask(Close(**self._envelope(MAIN), close=body), object)

    def _envelope(self, branch: str, command_id: str | None = None) -> _Envelope:
        return _Envelope(
            command_id=str(uuid4()) if command_id is None else _check_command_id(command_id),
            session_id=self.id,
            branch_id=check_id("branch id", branch),
            actor=self._actor,
            sent_at=clock.now(),
        )


def _tick_input(
    objective: str,
    tool: ToolCall | None,
    system_prompt: str | None,
    allowed_tools: Sequence[str] | None,
    priority: str,
) -> TickInput:
    _check_objective(objective)
    if priority not in set(Priority):
        raise Malformed(f"the priority is {priority!r}: it must be one of {', '.join(Priority)}")
    return TickInput(
        objective=objective,
        proposed_tool=tool,
        system_prompt=system_prompt,
        allowed_tools=None if allowed_tools is None else tuple(allowed_tools),
        priority=Priority(priority),
    )


def _check_objective(objective: str) -> None:
    size = len(objective.encode(errors="surrogatepass"))
    if size > limits.OBJECTIVE_BYTES:
        raise Refused(
            f"the objective has {size} bytes, over the limit of {limits.OBJECTIVE_BYTES}: "
            "put long input into a file of the workspace"
        )


def _check_command_id(command_id: str) -> str:
    if 0 < len(command_id) <= MOST_ID and command_id.isascii() and command_id.isprintable():
        return command_id
    raise InvalidId(f"invalid command id {command_id[:80]!r}: use 1 to {MOST_ID} printable ASCII characters")
