"""`vagus approvals`: what waits for a person, and the person's answer."""

from typing import TYPE_CHECKING, Annotated

import typer

from vagus.cli.asking import ask, whoami
from vagus.cli.options import SERVER, Actor, AsJson, Server
from vagus.cli.output import show

if TYPE_CHECKING:
    from vagus.contract.approvals import ApprovalTicket
    from vagus.sdk.client import Client

app = typer.Typer(no_args_is_help=True, help="See and answer what waits for a person.")

ApprovalId = Annotated[str, typer.Argument(metavar="APPROVAL", help="Id of the ticket.", show_default=False)]
Reason = Annotated[str, typer.Option("--reason", help="Why, for the log.")]


@app.command("list")
def list_(
    session: Annotated[
        str | None, typer.Option("--session", metavar="SESSION", help="Of this session only.")
    ] = None,
    server: Server = SERVER,
    as_json: AsJson = False,
) -> None:
    """Tickets that wait for an answer, oldest first."""
    from vagus.cli.render import approvals as render

    tickets = ask(server, lambda client: client.approvals(session))
    show(tickets, as_json=as_json, render=render.listed)


@app.command("approve")
def approve(
    approval: ApprovalId,
    reason: Reason = "",
    actor: Actor = "",
    server: Server = SERVER,
    as_json: AsJson = False,
) -> None:
    """Allow what a ticket asks for; the call then runs by itself, if the policy still allows it."""
    from vagus.cli.render import approvals as render

    async def work(client: "Client") -> "ApprovalTicket":
        return await client.approve(approval, actor=actor or whoami(), reason=reason)

    show(ask(server, work, actor=actor), as_json=as_json, render=render.answered)


@app.command("deny")
def deny(
    approval: ApprovalId,
    reason: Reason = "",
    actor: Actor = "",
    server: Server = SERVER,
    as_json: AsJson = False,
) -> None:
    """Refuse what a ticket asks for; the call ends as failed."""
    from vagus.cli.render import approvals as render

    async def work(client: "Client") -> "ApprovalTicket":
        return await client.deny(approval, actor=actor or whoami(), reason=reason)

    show(ask(server, work, actor=actor), as_json=as_json, render=render.answered)
