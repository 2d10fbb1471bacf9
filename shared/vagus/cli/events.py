"""`vagus events`: a session's log, as a timeline for people or as its lines for programs."""

import sys
from typing import TYPE_CHECKING, Annotated

import typer

from vagus.cli.asking import ask
from vagus.cli.options import SERVER, AsJson, Server, SessionId
from vagus.cli.output import hush

if TYPE_CHECKING:
    from vagus.cli.render.timeline import Timeline
    from vagus.sdk.client import Client
    from vagus.sdk.session import Session


def events(
    session: SessionId,
    branch: Annotated[
        str | None,
        typer.Option("--branch", "-b", metavar="BRANCH", help="Of this branch only; by default of all."),
    ] = None,
    first: Annotated[
        int, typer.Option("--from", min=1, metavar="N", help="From this sequence on, on each branch.")
    ] = 1,
    limit: Annotated[
        int | None,
        typer.Option(
            "--limit",
            min=1,
            metavar="N",
            help="At most so many events; by default 200, without end to follow.",
        ),
    ] = None,
    follow: Annotated[
        bool, typer.Option("--follow", "-f", help="Go on with what comes, until Ctrl-C.")
    ] = False,
    server: Server = SERVER,
    as_json: AsJson = False,
) -> None:
    """Show what happened in a session, in the order in which it was committed.

    With `--json` the log's own lines, one event each; at a terminal a timeline; elsewhere plain lines.
    """
    from vagus.cli.render.timeline import timeline

    most = limit if limit is not None else (None if follow else 200)

    async def work(client: "Client") -> None:
        found = await client.session(session)
        with timeline(session, as_json=as_json, live=follow and sys.stdout.isatty()) as shown:
            await _show(found, shown, branch=branch, first=first, limit=most, follow=follow)

    try:
        ask(server, work)
    except KeyboardInterrupt:
        if not follow:
            raise
    except BrokenPipeError:
        hush()  # whoever read us has gone, as `head` does


async def _show(
    session: "Session", shown: "Timeline", *, branch: str | None, first: int, limit: int | None, follow: bool
) -> None:
    from contextlib import aclosing

    from vagus.contract.codec import encode_record

    if branch is not None:
        most = limit if limit is not None and not follow else 1
        found = await session.read_events(first, most, branch=branch)  # raises BranchNotFound
        if not follow:
            for record in found:
                shown.add(record, encode_record(record))
            return
    left = limit
    async with aclosing(session.events(branch=branch) if follow else session.history()) as stream:
        async for event in stream:
            if event.sequence < first:
                continue
            shown.add(event.record, event.line)
            left = None if left is None else left - 1
            if left == 0:
                return
