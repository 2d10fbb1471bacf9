"""`vagus subscriptions`: who follows the events of all sessions, and how far they are."""

from typing import Annotated

import typer

from vagus.cli.asking import ask
from vagus.cli.options import SERVER, AsJson, Server
from vagus.cli.output import show

app = typer.Typer(no_args_is_help=True, help="See how far durable subscriptions are, or delete one.")


@app.command("list")
def list_(server: Server = SERVER, as_json: AsJson = False) -> None:
    """Durable subscriptions by name, with what waits for them.

    WAITING events were not read yet, OPEN ones were read and are not done, FAILING ones have failed.
    """
    from vagus.cli.render import subscriptions as render

    show(ask(server, lambda client: client.subscriptions()), as_json=as_json, render=render.listed)


@app.command("delete")
def delete(
    name: Annotated[str, typer.Argument(metavar="NAME", help="Of the subscription.", show_default=False)],
    server: Server = SERVER,
    as_json: AsJson = False,
) -> None:
    """Forget a durable subscription for good; who uses the name again begins anew.

    Refused while somebody takes part in it.
    """
    from vagus.cli.render import subscriptions as render

    ask(server, lambda client: client.unsubscribe(name))
    show(render.Deleted(name=name, deleted=True), as_json=as_json, render=render.deleted)
