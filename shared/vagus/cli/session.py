"""`vagus session`: make, find, extend and close sessions."""

from typing import TYPE_CHECKING, Annotated

import typer

from vagus.cli.asking import ask, whoami
from vagus.cli.options import SERVER, Actor, AsJson, Branch, Server, SessionId
from vagus.cli.output import show
from vagus.cli.policies import Policy, read_policy

if TYPE_CHECKING:
    from vagus.sdk.client import Client

app = typer.Typer(no_args_is_help=True, help="Make, list, show, extend and close sessions.")


@app.command("create")
def create(
    session: Annotated[
        str | None,
        typer.Argument(metavar="[SESSION]", help="Id; made up if you give none.", show_default=False),
    ] = None,
    owner: Annotated[str | None, typer.Option("--owner", help="Whose it is; by default you.")] = None,
    policy: Policy = "default",
    model: Annotated[
        str | None,
        typer.Option(
            "--model", metavar="MODEL", help="Model to ask, such as baseline; by default the kernel's."
        ),
    ] = None,
    server: Server = SERVER,
    as_json: AsJson = False,
) -> None:
    """Create a session. Of an id that exists it says what that session is; another policy is a conflict."""
    from vagus.cli.render import sessions as render
    from vagus.contract.models import ModelRouting
    from vagus.contract.sessions import SessionManifest

    rules = read_policy(policy)
    routing = None if model is None else ModelRouting(primary_model=model)

    async def work(client: "Client") -> SessionManifest:
        made = await client.create_session(
            owner=owner or whoami(), policy=rules, session_id=session, model_routing=routing
        )
        return (await made.summary()).manifest

    show(ask(server, work), as_json=as_json, render=render.created)


@app.command("list")
def list_(server: Server = SERVER, as_json: AsJson = False) -> None:
    """All sessions, newest first."""
    from vagus.cli.render import sessions as render

    show(ask(server, lambda client: client.sessions()), as_json=as_json, render=render.listed)


@app.command("show")
def show_(session: SessionId, server: Server = SERVER, as_json: AsJson = False) -> None:
    """What a session is, its branches, and the state of main."""
    from vagus.cli.render import sessions as render
    from vagus.cli.views import SessionView, view

    async def work(client: "Client") -> SessionView:
        return await view(await client.session(session))

    show(ask(server, work), as_json=as_json, render=render.shown)


@app.command("close")
def close(
    session: SessionId,
    reason: Annotated[str, typer.Option("--reason", help="Why, for the log.")] = "closed by its user",
    cancel: Annotated[
        bool, typer.Option("--cancel", help="End ticks in progress and pending tickets first.")
    ] = False,
    actor: Actor = "",
    server: Server = SERVER,
    as_json: AsJson = False,
) -> None:
    """Close a session: from then on it can only be read."""
    from vagus.cli.render import sessions as render
    from vagus.cli.views import Closed

    async def work(client: "Client") -> Closed:
        await (await client.session(session)).close(reason, cancel=cancel)
        return Closed(session_id=session, reason=reason)

    show(ask(server, work, actor=actor), as_json=as_json, render=render.closed)


@app.command("erase")
def erase(
    session: SessionId,
    yes: Annotated[bool, typer.Option("--yes", help="Really: nothing brings it back.")] = False,
    reason: Annotated[str, typer.Option("--reason", help="Why, for the tombstone.")] = "",
    actor: Actor = "",
    server: Server = SERVER,
    as_json: AsJson = False,
) -> None:
    """Erase a session for ever: log, workspace, blobs, tickets, copies. Only a tombstone is left."""
    from vagus.cli.render import sessions as render

    if not yes:
        raise typer.BadParameter(f"this erases session {session} for ever: say --yes")
    tombstone = ask(server, lambda client: client.erase(session, reason=reason), actor=actor)
    show(tombstone, as_json=as_json, render=render.erased)


@app.command("cancel")
def cancel(
    session: SessionId,
    command_id: Annotated[
        str | None,
        typer.Option("--command-id", metavar="ID", help="Of the tick to end; by default whatever runs."),
    ] = None,
    branch: Branch = "main",
    actor: Actor = "",
    server: Server = SERVER,
    as_json: AsJson = False,
) -> None:
    """End what runs or waits on a branch."""
    from vagus.cli.render import sessions as render
    from vagus.cli.views import Place

    async def work(client: "Client") -> Place:
        await (await client.session(session)).cancel(command_id, branch=branch)
        return Place(session_id=session, branch_id=branch)

    show(ask(server, work, actor=actor), as_json=as_json, render=render.cancelled)


@app.command("archive")
def archive(session: SessionId, actor: Actor = "", server: Server = SERVER, as_json: AsJson = False) -> None:
    """Move the log of a session at rest to the archive. It is read as before; its next input restores it."""
    from vagus.cli.render import sessions as render

    place = ask(server, lambda client: client.archive_session(session), actor=actor)
    show(place, as_json=as_json, render=render.placed)


@app.command("restore")
def restore(
    session: SessionId,
    checkpoint: Annotated[
        str | None,
        typer.Argument(
            metavar="[CHECKPOINT]", help="Id, as the event CheckpointCreated names it.", show_default=False
        ),
    ] = None,
    branch: Branch = "main",
    actor: Actor = "",
    server: Server = SERVER,
    as_json: AsJson = False,
) -> None:
    """Bring a session back from the archive; with CHECKPOINT set a branch's state back to that.

    The log keeps everything.
    """
    from vagus.cli.render import sessions as render
    from vagus.cli.views import Place

    if checkpoint is None:
        place = ask(server, lambda client: client.restore_session(session), actor=actor)
        show(place, as_json=as_json, render=render.placed)
        return

    async def work(client: "Client") -> Place:
        await (await client.session(session)).restore(checkpoint, branch=branch)
        return Place(session_id=session, branch_id=branch)

    show(ask(server, work, actor=actor), as_json=as_json, render=render.restored)


@app.command("budget")
def budget(
    session: SessionId,
    tokens: Annotated[int, typer.Option("--tokens", min=0, help="Tokens to add.")] = 0,
    time_ms: Annotated[int, typer.Option("--time-ms", min=0, help="Milliseconds to add.")] = 0,
    cost_usd: Annotated[float, typer.Option("--cost-usd", min=0, help="US dollars to add.")] = 0.0,
    tool_calls: Annotated[int, typer.Option("--tool-calls", min=0, help="Tool calls to add.")] = 0,
    errors: Annotated[int, typer.Option("--errors", min=0, help="Errors to add.")] = 0,
    branch: Branch = "main",
    actor: Actor = "",
    server: Server = SERVER,
    as_json: AsJson = False,
) -> None:
    """Show what a branch may still spend, after adding what you give."""
    from vagus.cli.render import sessions as render
    from vagus.cli.views import BudgetView

    more = any((tokens, time_ms, cost_usd, tool_calls, errors))

    async def work(client: "Client") -> BudgetView:
        found = await client.session(session)
        if more:
            left = await found.extend_budget(
                tokens=tokens,
                time_ms=time_ms,
                cost_usd=cost_usd,
                tool_calls=tool_calls,
                errors=errors,
                branch=branch,
            )
        else:
            left = (await found.estimate(branch)).state.budget
        return BudgetView(session_id=session, branch_id=branch, budget=left)

    show(ask(server, work, actor=actor), as_json=as_json, render=render.budget)
