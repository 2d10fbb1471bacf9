"""`vagus feed`: the events of many sessions, a line each, for programs."""

from typing import TYPE_CHECKING, Annotated

import typer

from vagus.cli.asking import ask
from vagus.cli.options import SERVER, AsJson, Server
from vagus.cli.output import hush, print_line
from vagus.cli.times import instant

if TYPE_CHECKING:
    from vagus.runtime.subscription import Start
    from vagus.sdk.client import Client


def feed(
    session: Annotated[
        list[str] | None, typer.Option("--session", "-s", metavar="SESSION", help="Of this one; repeatable.")
    ] = None,
    branch: Annotated[
        list[str] | None, typer.Option("--branch", "-b", metavar="BRANCH", help="Of this one; repeatable.")
    ] = None,
    kind: Annotated[
        list[str] | None,
        typer.Option("--kind", "-k", metavar="KIND", help="Such as ToolCallRequested; repeatable."),
    ] = None,
    owner: Annotated[
        str | None, typer.Option("--owner", metavar="NAME", help="Of sessions that are this one's.")
    ] = None,
    start: Annotated[
        str,
        typer.Option("--from", metavar="WHERE", help="`new`, `first`, or a time as 2026-11-24T09:00:00Z."),
    ] = "new",
    durable: Annotated[
        str | None,
        typer.Option(
            "--durable",
            metavar="NAME",
            help="Remember what was printed, and go on there; then --from is for the first time.",
        ),
    ] = None,
    limit: Annotated[
        int | None, typer.Option("--limit", min=1, metavar="N", help="End after so many events.")
    ] = None,
    server: Server = SERVER,
    as_json: AsJson = False,
) -> None:
    """Print events of all sessions as they come, each as its line on the log, until Ctrl-C.

        vagus feed --kind ApprovalRequested | while read -r event; do ...; done

        vagus feed --durable audit --from first >> audit.ndjson

    Of a session they come in order. With `--durable` none is left out, whatever happens meanwhile; the last
    ones may be printed twice after a crash, and several processes of one name divide the sessions. Without,
    each process prints all of them. `vagus subscriptions` lists the names. A relay must run; `vagus up`
    starts one.
    """
    from vagus.contract.subscriptions import Filter

    wanted = Filter(
        sessions=tuple(session or ()), branches=tuple(branch or ()), kinds=tuple(kind or ()), owner=owner
    )
    begin: Start = _start(start)

    async def work(client: "Client") -> None:
        left = limit
        async with client.subscribe(wanted, durable=durable, start=begin) as subscription:
            async for delivery in subscription:
                print_line(delivery.line)
                await delivery.ack()
                left = None if left is None else left - 1
                if left == 0:
                    return

    try:
        ask(server, work)
    except KeyboardInterrupt:
        return
    except BrokenPipeError:
        hush()  # whoever read us has gone, as `head` does


def _start(text: str) -> "Start":
    match text:
        case "new" | "first":
            return text
        case _:
            return instant(text, "--from")
