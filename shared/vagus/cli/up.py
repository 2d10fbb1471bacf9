"""`vagus up`: a server and all processes on this machine, kept alive until Ctrl-C."""

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from vagus.cli.options import AsJson, OwnServer
from vagus.cli.output import note

if TYPE_CHECKING:
    from vagus.runtime.supervisor import Plan, Supervisor

StoreFolder = Annotated[
    Path,
    typer.Option("--store", metavar="DIR", help="Folder that keeps everything; made if it is not there."),
]


def up(
    store: StoreFolder = Path(".vagus"),
    port: Annotated[
        int, typer.Option("--port", min=0, max=65535, help="Port of the server; 0: any free one.")
    ] = 4222,
    kernels: Annotated[int, typer.Option("--kernels", min=1, max=64, help="How many kernels.")] = 1,
    runners: Annotated[int, typer.Option("--runners", min=1, max=64, help="How many tool runners.")] = 1,
    relays: Annotated[
        int, typer.Option("--relays", min=0, max=64, help="How many relays, which fill the firehose.")
    ] = 0,
    durability: Annotated[
        Literal["sync", "fast"],
        typer.Option(
            "--durability",
            help="sync: what is acknowledged is on disk. fast: a power cut may lose the last two minutes.",
        ),
    ] = "sync",
    tools: Annotated[
        list[str] | None,
        typer.Option("--tools", metavar="MODULE", help="Module or file with more tools; repeat for more."),
    ] = None,
    provider: Annotated[
        str,
        typer.Option("--provider", metavar="P", help="Who answers as the model: baseline, scripted:FILE."),
    ] = "baseline",
    server: OwnServer = "",
    as_json: AsJson = False,
) -> None:
    """Start an embedded NATS server and all processes, and keep them running.

    These are kernels, policy gate, tool runners, approver and relays. What dies is started again. Ctrl-C
    stops everything within ten seconds; nothing that was accepted is lost: it goes on at the next start.
    Settings of the processes (`VAGUS_*`) are inherited; those of the kernel are listed by
    `python -m vagus_kernel --help`. With `--json` one line is printed when all are ready.
    """
    import anyio

    from vagus.runtime.supervisor import Plan

    plan = Plan(
        durability=durability,
        environ=dict(os.environ),
        kernels=kernels,
        port=port,
        provider=_provider(provider),
        relays=relays,
        root_subject=os.environ.get("VAGUS_ROOT_SUBJECT", "vagus"),
        runners=runners,
        server=server,
        store=store,
        tools=tuple(tools or ()),
    )
    anyio.run(_run, plan, as_json)


async def _run(plan: "Plan", as_json: bool) -> None:
    import anyio

    from vagus.cli.signals import until_signal
    from vagus.runtime.supervisor import supervise

    began = anyio.current_time()
    async with (
        until_signal("stopping: running work is finished or given back"),
        supervise(plan, tell=note) as supervisor,
    ):
        _announce(supervisor, anyio.current_time() - began, as_json)
        await anyio.sleep_forever()
    note("stopped")


def _announce(supervisor: "Supervisor", seconds: float, as_json: bool) -> None:
    from vagus.cli.output import show
    from vagus.cli.render import running as render

    show(render.view(supervisor), as_json=as_json, render=lambda view: render.announced(view, seconds))


def _provider(name: str) -> str:
    """The provider with its file named from the root: the processes need not run in this folder."""
    kind, colon, file = name.partition(":")
    return f"{kind}:{Path(file).absolute()}" if kind == "scripted" and colon else name
