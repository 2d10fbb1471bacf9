"""`vagus verify`: is a session's log whole and unchanged?"""

from typing import TYPE_CHECKING

import typer

from vagus.cli.asking import ask
from vagus.cli.options import SERVER, AsJson, Server, SessionId
from vagus.cli.output import complain, show

if TYPE_CHECKING:
    from vagus.sdk.client import Client
    from vagus.sdk.verification import Verification


def verify(session: SessionId, server: Server = SERVER, as_json: AsJson = False) -> None:
    """Check every event of a session: digests, gapless sequences, forks. Exits 1 if something is wrong."""
    from vagus.cli.render import verification as render

    async def work(client: "Client") -> "Verification":
        return await client.verify(session)

    found = ask(server, work)
    show(found, as_json=as_json, render=render.shown)
    if not found.ok:
        complain("Malformed", f"the log of session {session} is not whole: {found.problems[0]}")
        raise typer.Exit(1)
