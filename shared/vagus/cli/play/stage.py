"""The demo's own server and processes, gone when it ends."""

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from importlib.resources import as_file, files
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

from vagus.cli.asking import whoami
from vagus.cli.output import note
from vagus.runtime.supervisor import Plan, Supervisor, supervise
from vagus.sdk.client import Client, connect

_KEPT: Final = frozenset({"VAGUS_NATS_SERVER"})
"""Of the caller's settings; others might change what the demo shows."""


@asynccontextmanager
async def stage() -> AsyncIterator[tuple[Supervisor, Client]]:
    """Everything running in a temporary store, with the scripted model, and a client."""
    environ = {
        name: value for name, value in os.environ.items() if not name.startswith("VAGUS_") or name in _KEPT
    }
    with (
        as_file(files("vagus.cli.play") / "script.json") as script,
        TemporaryDirectory(prefix="vagus-demo-", ignore_cleanup_errors=True) as folder,
    ):
        plan = Plan(environ=environ, provider=f"scripted:{script}", store=Path(folder))
        async with (
            supervise(plan, tell=note) as supervisor,
            connect(supervisor.url, actor=whoami(), name="vagus-demo") as client,
        ):
            yield supervisor, client
