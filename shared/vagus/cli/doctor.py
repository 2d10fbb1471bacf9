"""`vagus doctor`: is everything as it should be, and what is to be mended?"""

from pathlib import Path
from typing import Annotated

import typer

from vagus.cli.options import SERVER, AsJson, Server
from vagus.cli.output import show


def doctor(
    store: Annotated[
        Path, typer.Option("--store", metavar="DIR", help="Folder of `vagus up`; looked at if it is there.")
    ] = Path(".vagus"),
    server: Server = SERVER,
    as_json: AsJson = False,
) -> None:
    """Check versions, server, streams, live processes and the store folder. Exits 1 if something is wrong."""
    import anyio

    from vagus.cli.checks import check_all
    from vagus.cli.render import checks as render

    found = anyio.run(check_all, server, store)
    show(found, as_json=as_json, render=render.shown)
    if not found.ok:
        raise typer.Exit(1)
