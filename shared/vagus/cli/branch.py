"""`vagus branch`: fork, list and merge."""

from typing import TYPE_CHECKING, Annotated

import typer

from vagus.cli.asking import ask
from vagus.cli.options import SERVER, Actor, AsJson, Server, SessionId
from vagus.cli.output import show

if TYPE_CHECKING:
    from vagus.contract.sessions import BranchInfo, BranchMergeResult
    from vagus.sdk.client import Client

app = typer.Typer(no_args_is_help=True, help="Fork a session to try another way, and merge it back.")

Name = Annotated[str, typer.Argument(metavar="BRANCH", help="Name of the branch.", show_default=False)]


@app.command("create")
def create(
    session: SessionId,
    branch: Name,
    from_branch: Annotated[str, typer.Option("--from", metavar="BRANCH", help="Branch to fork.")] = "main",
    at: Annotated[
        int | None,
        typer.Option("--at", min=0, metavar="SEQUENCE", help="Where to fork it; by default its last event."),
    ] = None,
    actor: Actor = "",
    server: Server = SERVER,
    as_json: AsJson = False,
) -> None:
    """Fork a branch: it inherits state and conversation as they were at that event."""
    from vagus.cli.render import branches as render

    async def work(client: "Client") -> "BranchInfo":
        found = await client.session(session)
        return await found.create_branch(branch, from_branch=from_branch, fork_sequence=at)

    show(ask(server, work, actor=actor), as_json=as_json, render=render.created)


@app.command("list")
def list_(session: SessionId, server: Server = SERVER, as_json: AsJson = False) -> None:
    """All branches of a session."""
    from vagus.cli.render import branches as render

    async def work(client: "Client") -> "list[BranchInfo]":
        return await (await client.session(session)).branches()

    show(ask(server, work), as_json=as_json, render=render.listed)


@app.command("merge")
def merge(
    session: SessionId,
    branch: Name,
    into: Annotated[str, typer.Option("--into", metavar="BRANCH", help="Branch that takes it in.")] = "main",
    cancel: Annotated[
        bool, typer.Option("--cancel", help="End what runs or waits on the branch first.")
    ] = False,
    actor: Actor = "",
    server: Server = SERVER,
    as_json: AsJson = False,
) -> None:
    """Merge a branch into another; it is read-only afterwards."""
    from vagus.cli.render import branches as render

    async def work(client: "Client") -> "BranchMergeResult":
        return await (await client.session(session)).merge_branch(branch, into=into, cancel=cancel)

    show(ask(server, work, actor=actor), as_json=as_json, render=render.merged)
