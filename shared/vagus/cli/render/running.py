"""What `vagus up` started, for people and programs."""

import msgspec
from rich.text import Text

from vagus.cli.options import SERVER
from vagus.cli.render.console import console, pairs
from vagus.runtime.supervisor import Supervisor


class ProcessView(msgspec.Struct, frozen=True, kw_only=True):
    """One process."""

    name: str
    pid: int | None
    log: str


class RunningView(msgspec.Struct, frozen=True, kw_only=True):
    """Where everything is."""

    server: str
    store: str
    root: str
    processes: tuple[ProcessView, ...]


def view(supervisor: Supervisor) -> RunningView:
    """What runs, and where it keeps its things."""
    server = supervisor.server
    embedded = (
        () if server is None else (ProcessView(name="nats-server", pid=server.pid, log=str(server.log_path)),)
    )
    return RunningView(
        server=supervisor.url,
        store=str(supervisor.store.folder),
        root=str(supervisor.store.root),
        processes=(
            *embedded,
            *[ProcessView(name=c.name, pid=c.pid, log=str(c.log)) for c in supervisor.children],
        ),
    )


def announced(found: RunningView, seconds: float) -> None:
    """Where everything is and what to do with it."""
    out = console()
    out.print(
        Text.assemble(
            ("vagus is up", "bold green"), f": {len(found.processes)} processes, ready in {seconds:.1f} s\n"
        )
    )
    out.print(
        pairs(
            ("server", Text(found.server, style="bold")),
            ("store", found.store),
            ("workspaces", f"{found.root}/sessions"),
            *[(process.name, f"pid {process.pid}  log {process.log}") for process in found.processes],
        )
    )
    at = "" if found.server == SERVER else f"export VAGUS_SERVER={found.server}\n"
    lines = ("vagus session create s1", 'vagus run s1 "say hello"', "vagus events s1 --follow")
    out.print(
        Text(f"\nin another terminal:\n{at}" + "\n".join(lines) + "\n\nCtrl-C stops everything", style="dim")
    )
