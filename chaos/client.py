"""A client that plays scripts, asking again until it is answered."""

from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Final, TypeVar

import anyio
from anyio.abc import TaskGroup

import vagus
from chaos.book import Book
from chaos.pace import Pace
from chaos.script import (
    Archive,
    Cancel,
    Close,
    Erase,
    Extend,
    Fork,
    Merge,
    Rest,
    Restore,
    Script,
    Signal,
    Step,
    Tick,
    Wake,
)
from vagus.contract.events import CheckpointCreated

T = TypeVar("T")

PATIENCE_S: Final = 30.0
"""For the end of a tick, a move or an erasure; then it is asked for again."""
PAUSE_S: Final = 0.5
REFUSALS: Final = (vagus.Refused, vagus.NotFound, vagus.Busy)
"""The branch is merged, the session closed or at work, the ticket answered, or it was done before."""
POLICY: Final = vagus.PolicySet(
    allow_capabilities=("chaos:*",),
    gate_capabilities=("chaos:pay:ask*", "chaos:extra"),
    max_tool_runtime_secs=60,
    max_events_per_turn=256,
)
RICH: Final = vagus.BudgetState(
    tokens_remaining=10**9,
    time_remaining_ms=10**12,
    cost_remaining_usd=1e6,
    tool_calls_remaining=10**6,
    error_budget_remaining=10**6,
)
POOR: Final = vagus.BudgetState(tool_calls_remaining=3, error_budget_remaining=4)


class Player:
    """Plays one script after the other."""

    def __init__(self, *, book: Book, client: vagus.Client, models: Path, pace: Pace) -> None:
        self._book = book
        self._client = client
        self._models = models
        self._pace = pace

    async def play(self, script: Script) -> None:
        """From the session's creation to what its script ends with."""
        routing = vagus.ModelRouting(primary_model=f"scripted:{self._models}") if script.scripted else None

        async def create() -> vagus.Session:
            return await self._client.create_session(
                owner="chaos",
                policy=POLICY,
                session_id=script.session,
                model_routing=routing,
                budget=POOR if script.poor else RICH,
            )

        session = await self._insist(create)
        async with anyio.create_task_group() as tasks:
            for step in script.steps:
                if self._pace.over:
                    break
                await self._step(session, step, tasks)
        for step in script.steps:  # also of scripts that were not played to their end
            match step:
                case Rest():
                    await self._step(session, step, tasks)
                case Erase():
                    await self._ask(step, lambda: self._erase(session), may=())

    async def _step(self, session: vagus.Session, step: Step, tasks: TaskGroup) -> None:
        match step:
            case Tick():
                await self._pace.tick()
                if step.beside:
                    tasks.start_soon(self._tick, session, step)
                else:
                    await self._tick(session, step)
            case Wake(id=name, every_s=every_s):
                await self._ask(
                    step, lambda: session.wake(f"wake up for {name}", every=every_s, schedule_id=name)
                )
            case Rest(id=name):
                await self._ask(step, lambda: session.unschedule(name))
            case Archive(beside=True):
                tasks.start_soon(self._ask, step, lambda: self._archive(session))
            case Archive():
                await self._ask(step, lambda: self._archive(session))
            case Erase():
                pass  # when everything has been answered
            case _:
                await self._ask(step, lambda: _command(session, step))

    async def _archive(self, session: vagus.Session) -> None:
        await self._client.archive_session(session.id, timeout_s=PATIENCE_S)

    async def _erase(self, session: vagus.Session) -> None:
        await self._client.erase(session.id, reason="its script is at its end", timeout_s=PATIENCE_S)

    async def _tick(self, session: vagus.Session, step: Tick) -> None:
        output = await self._answered(session, step)
        self._pace.answered()
        if output is not None and output.reason == "awaiting_approval":
            await self._answer(session, step, output)
        if output is not None and step.again:
            await self._answered(session, step)

    async def _answered(self, session: vagus.Session, step: Tick) -> vagus.TickOutput | None:
        """Tick until it is known what became of it; None: refused, or it is for later."""
        place = (session.id, step.branch, step.id)
        objective, call = f"do {step.id}", _call(step)
        while True:
            try:
                if step.after_s is not None:
                    await session.tick(
                        objective, tool=call, branch=step.branch, command_id=step.id, after=step.after_s
                    )
                    self._book.accepted(*place)
                    return None
                output = await session.tick(
                    objective, tool=call, branch=step.branch, command_id=step.id, timeout_s=PATIENCE_S
                )
            except (vagus.OutcomeUnknown, vagus.Unavailable) as error:
                self._book.troubled(error)
                await anyio.sleep(PAUSE_S)
            except vagus.VagusError as error:
                if not isinstance(error, vagus.Refused | vagus.Busy | vagus.BranchNotFound):
                    self._book.wonder(f"tick {step.id}", error)
                if step.after_s is None:
                    self._book.refused(*place, error)
                return None
            else:
                self._book.ended(*place, output)
                return output

    async def _answer(self, session: vagus.Session, step: Tick, output: vagus.TickOutput) -> None:
        for pending in output.pending_approvals:
            match step.answer:
                case "approve" | "approve-twice":
                    for _ in range(1 if step.answer == "approve" else 2):
                        await self._decide(self._client.approve, pending.approval_id)
                case "deny":
                    await self._decide(self._client.deny, pending.approval_id)
                case "cancel":
                    await self._ask("cancel", lambda: session.cancel(branch=step.branch))
                case "leave":
                    pass  # it times out

    async def _decide(self, say: Callable[..., Awaitable[vagus.ApprovalTicket]], ticket: str) -> None:
        await self._ask("answer", lambda: say(ticket, actor="boss"))

    async def _ask(
        self,
        what: Step | str,
        command: Callable[[], Awaitable[object]],
        *,
        may: tuple[type[vagus.VagusError], ...] = REFUSALS,
    ) -> None:
        """Have a command done that may rightly be refused, with such errors."""
        name = what if isinstance(what, str) else type(what).__name__.lower()
        try:
            await self._insist(command)
        except may:
            self._book.commands[f"{name}, refused"] += 1
        except vagus.VagusError as error:
            self._book.wonder(str(what), error)
        else:
            self._book.commands[name] += 1

    async def _insist(self, command: Callable[[], Awaitable[T]]) -> T:
        while True:
            try:
                return await command()
            except (vagus.OutcomeUnknown, vagus.Unavailable) as error:
                self._book.troubled(error)
                await anyio.sleep(PAUSE_S)


def _call(step: Tick) -> vagus.ToolCall | None:
    if not step.tool:
        return None
    given: dict[str, object] = {"key": f"ask-{step.id}" if step.asks else step.id}
    if step.tool == "fs.read":
        given = {"path": "secret"}  # which nobody allows
    elif step.tool != "chaos.fail":
        given["seconds"] = step.seconds
    extra = ("chaos:extra",) if step.asks > 1 else ()
    return vagus.ToolCall(tool_name=step.tool, input=given, requested_capabilities=extra)


async def _command(session: vagus.Session, step: Step) -> None:
    match step:
        case Fork(branch=branch, of=of):
            await session.create_branch(branch, from_branch=of)
        case Merge(branch=branch, cancel=cancel):
            await session.merge_branch(branch, cancel=cancel)
        case Cancel(branch=branch, tick=tick):
            await session.cancel(tick, branch=branch)
        case Signal(branch=branch, number=number):
            said = {"type": "ExternalSignal", "signal_type": "chaos", "data": {"number": number}}
            await session.record_event(said, branch=branch)
        case Extend(branch=branch):
            await session.extend_budget(tool_calls=5, errors=5, tokens=10_000, branch=branch)
        case Restore(branch=branch):
            events = await session.read_events(limit=200, branch=branch)
            made = [event.kind for event in events if isinstance(event.kind, CheckpointCreated)]
            if made:
                await session.restore(made[0].checkpoint_id, branch=branch)
        case Close(cancel=cancel):
            await session.close("the script is at its end", cancel=cancel)
        case _:
            raise AssertionError(f"not a command: {step}")
