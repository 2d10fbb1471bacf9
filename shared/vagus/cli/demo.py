"""`vagus demo`: see it all happen once, in a temporary store."""

from typing import Annotated

import typer

from vagus.cli.options import AsJson, OwnServer
from vagus.cli.output import show


def demo(
    yes: Annotated[
        bool, typer.Option("--yes", "-y", help="Approve by itself instead of asking at the terminal.")
    ] = False,
    server: OwnServer = "",
    as_json: AsJson = False,
) -> None:
    """Run a scripted objective: files, a command, a denied call, an approval, a fork and a merge.

    Everything runs on this machine, offline, on free ports and in a temporary store, and is gone afterwards.
    """
    import anyio

    from vagus.cli.play.program import play
    from vagus.cli.render import play as render
    from vagus.cli.signals import until_signal

    async def run() -> None:
        async with until_signal("stopping") as running:
            report = await play(server, ask=not yes and not as_json, watch=not as_json)
            show(report, as_json=as_json, render=render.summary)
            if not report.verified:
                raise typer.Exit(1)
        if running.cancelled_caught:
            raise KeyboardInterrupt

    anyio.run(run)
