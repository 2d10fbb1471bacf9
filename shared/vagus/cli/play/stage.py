"""The demo's own server and processes, gone when it ends."""

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from importlib.resources import as_file, files
from pathlib import Path
from secrets import token_hex
from tempfile import TemporaryDirectory
from typing import Final

import anyio

from vagus.cli.asking import whoami
from vagus.cli.output import note
from vagus.cli.play.sweep import sweep
from vagus.contract.subjects import Subjects
from vagus.runtime.access import ANYBODY
from vagus.runtime.settings import Access, describe, read_settings
from vagus.runtime.supervisor import Plan, Supervisor, supervise
from vagus.sdk.client import Client, connect

_KEPT: Final = frozenset({"VAGUS_NATS_SERVER", *(setting.variable for setting in describe(Access))})
"""Of the caller's settings; others might change what the demo shows."""
SWEEP_S: Final = 10.0


@asynccontextmanager
async def stage(server: str) -> AsyncIterator[tuple[Supervisor, Client]]:
    """Everything running in a temporary store, with the scripted model, and a client.

    On a server of somebody else's it takes a root subject of its own, and removes its streams at the end.
    """
    subjects = Subjects(root=f"demo{token_hex(4)}" if server else "vagus")
    access = read_settings(Access, os.environ) if server else ANYBODY
    environ = {
        name: value for name, value in os.environ.items() if not name.startswith("VAGUS_") or name in _KEPT
    }
    with (
        as_file(files("vagus.cli.play") / "script.json") as script,
        TemporaryDirectory(prefix="vagus-demo-", ignore_cleanup_errors=True) as folder,
    ):
        plan = Plan(
            environ=environ,
            provider=f"scripted:{script}",
            root_subject=subjects.root,
            server=server,
            store=Path(folder),
        )
        try:
            async with (
                supervise(plan, tell=note) as supervisor,
                connect(
                    supervisor.url,
                    access=access,
                    actor=whoami(),
                    name="vagus-demo",
                    root_subject=subjects.root,
                ) as client,
            ):
                yield supervisor, client
        finally:
            if server:
                with anyio.move_on_after(SWEEP_S, shield=True):
                    await sweep(server, subjects, access)
