"""`vagus backup` and `vagus restore`: all that is on the server, as a folder, and back."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from vagus.cli.asking import ask
from vagus.cli.options import SERVER, AsJson, Server
from vagus.cli.output import note, print_line, show

if TYPE_CHECKING:
    from vagus.sdk.backup import Backup
    from vagus.sdk.client import Client

Folder = Annotated[Path, typer.Argument(metavar="FOLDER", help="The backup's folder.", show_default=False)]


def backup(folder: Folder, server: Server = SERVER, as_json: AsJson = False) -> None:
    """Copy all that is on the server into a new folder, while everything runs.

    Logs, archives, queues, registry, tickets, claims, blobs and the places of durable readers; not the
    workspaces, which are files of yours already. The folder holds whatever sessions hold: keep it as safe.
    The user must be one who may make streams.
    """
    from vagus.sdk.backup import untold

    async def work(client: "Client") -> "Backup":
        return await client.backup(folder, tell=untold if as_json else note)

    show(ask(server, work), as_json=as_json, render=_told("saved in", folder))


def restore(
    folder: Folder,
    replicas: Annotated[
        int | None,
        typer.Option(
            "--replicas",
            min=1,
            max=5,
            help="Copies of each stream; else as many as there were.",
            show_default=False,
        ),
    ] = None,
    server: Server = SERVER,
    as_json: AsJson = False,
) -> None:
    """Put a backup back onto a server, or an account, that has nothing of it; then start the processes.

    Every file is checked before anything is made. What was in progress when the backup was taken goes on
    from there: sessions are as they were then, and a tool that had been started may be started again.
    """
    from vagus.sdk.backup import untold

    async def work(client: "Client") -> "Backup":
        return await client.restore_backup(folder, replicas=replicas, tell=untold if as_json else note)

    show(ask(server, work), as_json=as_json, render=_told("restored from", folder))


def _told(how: str, folder: Path) -> "Callable[[Backup], None]":
    def tell(done: "Backup") -> None:
        messages = sum(stream.state.messages for stream in done.streams)
        size = f"{done.size / 1e6:.1f} MB"
        print_line(f"{len(done.streams)} streams with {messages} messages, {size}, {how} {folder}".encode())

    return tell
