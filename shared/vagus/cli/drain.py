"""`vagus drain`: have processes finish their work and end."""

from typing import TYPE_CHECKING, Annotated

import msgspec
import typer

from vagus.cli.asking import ask
from vagus.cli.options import SERVER, AsJson, Server
from vagus.cli.output import show
from vagus.contract.errors import VagusError

if TYPE_CHECKING:
    from vagus.sdk.client import Client


class Drained(msgspec.Struct, frozen=True, kw_only=True):
    """How it went with one process."""

    process: str
    seconds: float
    error: str = ""
    """Empty: it has ended."""


def drain(
    process: Annotated[
        str,
        typer.Argument(
            metavar="[KIND.INSTANCE]", help="One process, as `vagus status` names it.", show_default=False
        ),
    ] = "",
    everything: Annotated[bool, typer.Option("--all", help="All processes, at the same time.")] = False,
    timeout: Annotated[
        float, typer.Option("--timeout", metavar="S", min=0.1, help="Seconds to wait for a process.")
    ] = 30.0,
    server: Server = SERVER,
    as_json: AsJson = False,
) -> None:
    """Ask a process to take no more work, finish or give back what it has, and end; wait until it has.

    It ends as by SIGTERM, with exit code 0, and nothing is lost: others of its kind go on where it was. What
    keeps processes running starts it again, `vagus up` too: to drain one after another is a rolling restart.
    Exits 1 if one has not ended in time.
    """
    from vagus.cli.render import draining as render

    if bool(process) == everything:
        raise typer.BadParameter("name one process, or give --all")

    async def work(client: "Client") -> list[Drained]:
        return await _drain(client, process, timeout)

    ended = ask(server, work)
    show(ended, as_json=as_json, render=render.listed)
    if any(one.error for one in ended):
        raise typer.Exit(1)


async def _drain(client: "Client", process: str, timeout_s: float) -> list[Drained]:
    """One process, or all of them."""
    import anyio

    ended: list[Drained] = []

    async def one(name: str) -> None:
        began = anyio.current_time()
        error = ""
        try:
            await client.drain(name, timeout_s=timeout_s)
        except VagusError as failure:
            error = failure.message
        seconds = round(anyio.current_time() - began, 3)
        ended.append(Drained(process=name, seconds=seconds, error=error))

    async with anyio.create_task_group() as group:
        for name in [process] if process else [member.name for member in await client.members()]:
            group.start_soon(one, name)
    return sorted(ended, key=lambda drained: drained.process)
