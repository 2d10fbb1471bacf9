"""`vagus dead`: messages that no process could handle."""

from typing import TYPE_CHECKING, Annotated

import typer

from vagus.cli.asking import ask
from vagus.cli.options import SERVER, AsJson, Server
from vagus.cli.output import show

if TYPE_CHECKING:
    from vagus.sdk.client import Client
    from vagus.sdk.deadletters import DeadLetter

app = typer.Typer(no_args_is_help=True, help="See, send again or drop what no process could handle.")

LetterId = Annotated[int, typer.Argument(metavar="ID", min=1, help="Of the dead letter.", show_default=False)]
LetterIds = Annotated[
    list[int], typer.Argument(metavar="ID...", min=1, help="Of the dead letters.", show_default=False)
]


@app.command("list")
def list_(
    session: Annotated[
        str | None, typer.Option("--session", metavar="SESSION", help="Of this session only.")
    ] = None,
    after: Annotated[int, typer.Option("--after", min=0, metavar="ID", help="Only later ones.")] = 0,
    limit: Annotated[int, typer.Option("--limit", min=1, help="At most so many.")] = 100,
    server: Server = SERVER,
    as_json: AsJson = False,
) -> None:
    """Dead letters, oldest first, without their bodies. They are kept for 14 days."""
    from vagus.cli.render import dead as render

    letters = ask(server, lambda client: client.dead_letters(session, after=after, limit=limit))
    show(letters, as_json=as_json, render=render.listed)


@app.command("show")
def show_(letter: LetterId, server: Server = SERVER, as_json: AsJson = False) -> None:
    """One dead letter with its body (in JSON as base64)."""
    from vagus.cli.render import dead as render

    show(ask(server, lambda client: client.dead_letter(letter)), as_json=as_json, render=render.shown)


@app.command("retry")
def retry(letters: LetterIds, server: Server = SERVER, as_json: AsJson = False) -> None:
    """Put messages on their queues again; the dead letters are then gone.

    What a message asks for is still done at most once. Mend the reason first: else it comes back. What a
    durable subscription has given up goes to that subscription, and only there; it may come twice.
    """
    from vagus.cli.render import dead as render

    async def work(client: "Client") -> "list[DeadLetter]":
        return [await client.retry(letter) for letter in letters]

    show(ask(server, work), as_json=as_json, render=render.retried)


@app.command("drop")
def drop(letters: LetterIds, server: Server = SERVER, as_json: AsJson = False) -> None:
    """Remove dead letters for good."""
    from vagus.cli.render import dead as render

    async def work(client: "Client") -> list[int]:
        for letter in letters:
            await client.drop(letter)
        return letters

    show(ask(server, work), as_json=as_json, render=render.dropped)
