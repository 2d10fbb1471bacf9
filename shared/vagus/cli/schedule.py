"""`vagus schedule`: ticks for later, once or again and again."""

from typing import TYPE_CHECKING, Annotated

import typer

from vagus.cli.asking import ask
from vagus.cli.options import SERVER, Actor, AsJson, Branch, Server, SessionId
from vagus.cli.output import show
from vagus.cli.tick import (
    AllowedTools,
    Capability,
    Objective,
    PriorityOption,
    SystemPrompt,
    Tool,
    ToolInput,
    call_of,
)
from vagus.cli.times import span

if TYPE_CHECKING:
    from vagus.contract.schedules import Scheduled
    from vagus.sdk.client import Client

app = typer.Typer(no_args_is_help=True, help="Have a session tick by itself, list what is due, drop it.")


@app.command("add")
def add(
    session: SessionId,
    objective: Objective,
    cron: Annotated[
        str | None,
        typer.Option("--cron", metavar="EXPR", help="Five fields, in UTC, such as '0 9 * * 1-5'."),
    ] = None,
    every: Annotated[
        str | None, typer.Option("--every", metavar="SPAN", help="Such as 90, 15m, 2h or 1d; from now on.")
    ] = None,
    schedule_id: Annotated[
        str | None,
        typer.Option("--id", metavar="ID", help="Of the schedule; one that has it is replaced."),
    ] = None,
    tool: Tool = None,
    tool_input: ToolInput = "{}",
    capability: Capability = None,
    branch: Branch = "main",
    system_prompt: SystemPrompt = None,
    allow_tool: AllowedTools = None,
    priority: PriorityOption = "normal",
    actor: Actor = "",
    server: Server = SERVER,
    as_json: AsJson = False,
) -> None:
    """Tick again and again; `vagus tick --at` and `--after` do it once.

        vagus schedule add s1 "sum up the night" --cron "0 9 * * 1-5" --id morning

    What was missed while everything was down is made up for by one tick at most.
    """
    from vagus.cli.render import schedules as render

    if (cron is None) == (every is None):
        raise typer.BadParameter("say exactly one of them", param_hint="--cron, --every")
    often = None if every is None else span(every, "--every")
    call = None if tool is None else call_of(tool, tool_input, capability)

    async def work(client: "Client") -> "Scheduled":
        found = await client.session(session)
        return await found.wake(
            objective,
            cron=cron,
            every=often,
            schedule_id=schedule_id,
            tool=call,
            branch=branch,
            system_prompt=system_prompt,
            allowed_tools=allow_tool or None,
            priority=priority,
        )

    show(ask(server, work, actor=actor), as_json=as_json, render=render.added)


@app.command("list")
def list_(session: SessionId, server: Server = SERVER, as_json: AsJson = False) -> None:
    """What is due, the next one first."""
    from vagus.cli.render import schedules as render

    async def work(client: "Client") -> "list[Scheduled]":
        return await (await client.session(session)).schedules()

    show(ask(server, work), as_json=as_json, render=render.listed)


@app.command("drop")
def drop(
    session: SessionId,
    schedule: Annotated[
        str, typer.Argument(metavar="SCHEDULE", help="Id of the schedule.", show_default=False)
    ],
    actor: Actor = "",
    server: Server = SERVER,
    as_json: AsJson = False,
) -> None:
    """Let a schedule not fire any more."""
    from vagus.cli.render import schedules as render
    from vagus.contract.schedules import Dropped

    async def work(client: "Client") -> Dropped:
        found = await client.session(session)
        return Dropped(schedule_id=schedule, dropped=await found.unschedule(schedule))

    show(ask(server, work, actor=actor), as_json=as_json, render=render.dropped)
