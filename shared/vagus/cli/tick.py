"""`vagus tick` and `vagus run`: let a session do something."""

from functools import partial
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from vagus.cli.asking import ask
from vagus.cli.options import SERVER, Actor, AsJson, Branch, Server, SessionId
from vagus.cli.output import show
from vagus.cli.times import instant, span

if TYPE_CHECKING:
    from vagus.contract.schedules import Scheduled
    from vagus.contract.sessions import TickOutput
    from vagus.contract.tools import ToolCall
    from vagus.sdk.client import Client

Objective = Annotated[str, typer.Argument(metavar="OBJECTIVE", help="What it is about.", show_default=False)]
SystemPrompt = Annotated[
    str | None, typer.Option("--system-prompt", metavar="TEXT", help="System prompt for this.")
]
AllowedTools = Annotated[
    list[str] | None,
    typer.Option("--allow-tool", metavar="NAME", help="Only this tool; repeat for more. By default all."),
]
Tool = Annotated[
    str | None, typer.Option("--tool", metavar="NAME", help="Call this tool instead of asking the model.")
]
ToolInput = Annotated[
    str, typer.Option("--input", metavar="JSON", help="The tool's input, a JSON object; `-` for stdin.")
]
Capability = Annotated[
    list[str] | None,
    typer.Option("--capability", metavar="C", help="A capability the call needs; repeat for more."),
]
PriorityOption = Annotated[
    Literal["high", "normal", "low"],
    typer.Option("--priority", help="Of its calls, where they wait for a runner."),
]
Timeout = Annotated[
    float, typer.Option("--timeout", min=0.1, metavar="SECONDS", help="How long to wait for a tick's end.")
]


def tick(
    session: SessionId,
    objective: Objective,
    tool: Tool = None,
    tool_input: ToolInput = "{}",
    capability: Capability = None,
    branch: Branch = "main",
    system_prompt: SystemPrompt = None,
    allow_tool: AllowedTools = None,
    priority: PriorityOption = "normal",
    command_id: Annotated[
        str | None,
        typer.Option(
            "--command-id", metavar="ID", help="Repeating a tick with its id does not run it again."
        ),
    ] = None,
    timeout: Timeout = 3600.0,
    at: Annotated[
        str | None,
        typer.Option("--at", metavar="TIME", help="Run it then, such as 2026-11-24T09:00:00Z; do not wait."),
    ] = None,
    after: Annotated[
        str | None,
        typer.Option("--after", metavar="SPAN", help="Run it so long from now, such as 90, 15m, 2h or 1d."),
    ] = None,
    actor: Actor = "",
    server: Server = SERVER,
    as_json: AsJson = False,
) -> None:
    """Run one turn of a session and say what it did.

    Exits 0 when the turn ran to its end, whatever became of its calls: the output says that.

        vagus tick s1 "greet me"

        vagus tick s1 "keep a note" --tool fs.write --input '{"path": "artifacts/a.txt", "content": "hi"}'

        vagus tick s1 "look whether it is done" --after 15m
    """
    call = None if tool is None else call_of(tool, tool_input, capability)
    if at is not None and after is not None:
        raise typer.BadParameter("say one of them", param_hint="--at, --after")
    then = None if at is None else instant(at, "--at")
    wait = None if after is None else span(after, "--after")

    async def work(client: "Client") -> "TickOutput | Scheduled":
        given = partial(
            (await client.session(session)).tick,
            objective,
            tool=call,
            branch=branch,
            system_prompt=system_prompt,
            allowed_tools=allow_tool or None,
            priority=priority,
            command_id=command_id,
        )
        if then is not None:
            return await given(at=then)
        return await given(timeout_s=timeout) if wait is None else await given(after=wait)

    show(ask(server, work, actor=actor), as_json=as_json, render=_told)


def _told(what: "TickOutput | Scheduled") -> None:
    from vagus.cli.render import schedules, ticks
    from vagus.contract.sessions import TickOutput

    if isinstance(what, TickOutput):
        ticks.output(what)
    else:
        schedules.added(what)


def run(
    session: SessionId,
    objective: Objective,
    max_ticks: Annotated[int, typer.Option("--max-ticks", min=1, help="Give up after so many turns.")] = 10,
    branch: Branch = "main",
    system_prompt: SystemPrompt = None,
    allow_tool: AllowedTools = None,
    priority: PriorityOption = "normal",
    timeout: Timeout = 3600.0,
    actor: Actor = "",
    server: Server = SERVER,
    as_json: AsJson = False,
) -> None:
    """Run turns until the model has answered, a person is needed or a limit is met."""
    from vagus.cli.render import ticks as render

    async def work(client: "Client") -> "TickOutput":
        found = await client.session(session)
        return await found.run(
            objective,
            max_ticks=max_ticks,
            branch=branch,
            system_prompt=system_prompt,
            allowed_tools=allow_tool or None,
            priority=priority,
            timeout_s=timeout,
        )

    show(ask(server, work, actor=actor), as_json=as_json, render=render.output)


def call_of(tool: str, tool_input: str, capabilities: list[str] | None) -> "ToolCall":
    """The call that a verb's options describe."""
    import sys

    import msgspec

    from vagus.contract.json import Json
    from vagus.contract.tools import ToolCall

    data = sys.stdin.buffer.read() if tool_input == "-" else tool_input.encode(errors="replace")
    try:
        given: dict[str, Json] = msgspec.json.decode(data, type=dict[str, Json])
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise typer.BadParameter(f"not a JSON object: {error}", param_hint="--input") from error
    return ToolCall(tool_name=tool, input=given, requested_capabilities=tuple(capabilities or ()))
