"""`vagus tools`: what can be called."""

from vagus.cli.asking import ask
from vagus.cli.options import SERVER, AsJson, Server
from vagus.cli.output import show


def tools(server: Server = SERVER, as_json: AsJson = False) -> None:
    """All registered tools with what they need and what they promise."""
    from vagus.cli.render import tools as render

    show(ask(server, lambda client: client.tools()), as_json=as_json, render=render.listed)
