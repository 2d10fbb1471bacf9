"""`vagus.embedded()`: a server and all processes as our children, and a client of them."""

import logging
import os
import tempfile
from collections.abc import AsyncIterator, Sequence
from contextlib import ExitStack, asynccontextmanager
from pathlib import Path

from vagus.runtime.embedded import Durability
from vagus.runtime.supervisor import Plan, supervise
from vagus.sdk.client import Client, connect

_log = logging.getLogger("vagus.embedded")


@asynccontextmanager
async def embedded(
    store: str | Path | None = None,
    *,
    actor: str = "",
    durability: Durability = "sync",
    kernels: int = 1,
    provider: str = "baseline",
    relays: int = 0,
    runners: int = 1,
    tools: Sequence[str] = (),
) -> AsyncIterator[Client]:
    """Start an embedded server and all processes, and connect to them; all have ended after the block.

    Settings of the processes (`VAGUS_*`) are inherited from the environment.

    Args:
        store: Folder that keeps everything. None: a temporary one, removed at the end.
        actor: As for `connect`.
        durability: `sync` or `fast`; see `Durability`.
        kernels: How many kernels.
        provider: Who answers as the model, such as `baseline` or `scripted:<file>`.
        relays: How many relays, which fill the firehose.
        runners: How many tool runners.
        tools: Modules, or paths of modules, with more tools.

    Raises:
        SettingsError: The store is in use, or a setting is wrong.
        Unavailable: Something did not start.
    """
    with ExitStack() as stack:
        folder = Path(
            stack.enter_context(tempfile.TemporaryDirectory(prefix="vagus-", ignore_cleanup_errors=True))
            if store is None
            else store
        )
        plan = Plan(
            durability=durability,
            environ=dict(os.environ),
            kernels=kernels,
            provider=provider,
            relays=relays,
            runners=runners,
            store=folder,
            tools=tuple(tools),
        )
        async with (
            supervise(plan, tell=_log.warning) as supervisor,
            connect(supervisor.url, actor=actor) as client,
        ):
            yield client
