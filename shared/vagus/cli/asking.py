"""From a verb, which is synchronous, into the client, which is not."""

import os
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Final, TypeVar

if TYPE_CHECKING:
    from vagus.sdk.client import Client

T = TypeVar("T")

CONNECT_S: Final = 3.0
"""People wait for this."""


def ask(server: str, work: "Callable[[Client], Awaitable[T]]", *, actor: str = "") -> T:
    """Connect to `server`, do `work` and return what it gave; raises `VagusError`."""
    import anyio

    from vagus.runtime.settings import Access, read_settings
    from vagus.sdk.client import connect

    _quiet()

    async def connected() -> T:
        root_subject = os.environ.get("VAGUS_ROOT_SUBJECT", "vagus")
        async with connect(
            server,
            timeout_s=CONNECT_S,
            access=read_settings(Access, os.environ),
            actor=actor or whoami(),
            name="vagus-cli",
            root_subject=root_subject,
        ) as client:
            return await work(client)

    return anyio.run(connected)


def whoami() -> str:
    """The name of the person at the terminal, if the system knows one."""
    import getpass

    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return "cli"


def _quiet() -> None:
    """Let only warnings of ours through: they say, for one, that the connection was lost."""
    import logging

    logging.basicConfig(level=logging.WARNING, format="%(message)s")
