"""`vagus status`: the whole installation at a glance."""

import typer

from vagus.cli.asking import ask
from vagus.cli.options import SERVER, AsJson, Server
from vagus.cli.output import show


def status(server: Server = SERVER, as_json: AsJson = False) -> None:
    """Show servers, processes and what they own, queues with their ages, the oldest input, and sessions.

    Takes some seconds at most, whatever is down. Exits 1 if something could not be read.
    """
    from vagus.cli.render import status as render

    found = ask(server, lambda client: client.status())
    show(found, as_json=as_json, render=render.shown)
    if found.problems:
        raise typer.Exit(1)
