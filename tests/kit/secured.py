"""A server as it is deployed: deploy/nats, TLS, and a user with permissions of its own for every process."""

import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from os.path import relpath
from pathlib import Path

from tests.kit.cluster import free_ports
from tests.kit.documents import ROOT
from vagus.contract.permissions import User, inbox_prefix
from vagus.runtime import grants
from vagus.runtime.embedded import EmbeddedServer, find_server
from vagus.runtime.settings import Access, describe

NATS = ROOT / "deploy" / "nats"
_CONFIG = """\
include "{deployed}"
ports_file_dir: "{store}"
log_file: "{log}"
"""


@dataclass
class Secrets:
    """Keys and certificates, each in a file."""

    folder: Path

    def make(self) -> dict[str, str]:
        """Make them; gives the public keys by the names that the server knows them by."""
        script = ROOT / "deploy" / "certificates"
        subprocess.run([script, self.folder, "localhost", "127.0.0.1"], check=True, capture_output=True)
        self.grant_key = grants.generate_key(self.folder / "grant.seed")
        return {
            f"VAGUS_NKEY_{user.upper()}": grants.generate_key(self.folder / f"{user}.nk", login=True)
            for user in User
        }

    def access(self, user: User) -> Access:
        """How a user logs in."""
        return Access(
            nkey=self.folder / f"{user}.nk",
            tls_ca=self.folder / "ca.pem",
            inbox_prefix=inbox_prefix(user),
        )

    def environ(self, user: User) -> dict[str, str]:
        """The same as settings of a process."""
        access = self.access(user)
        names = [setting.variable for setting in describe(Access)]
        values = (getattr(access, name.removeprefix("VAGUS_").lower()) for name in names)
        return {name: str(value) for name, value in zip(names, values, strict=True) if value is not None}


class SecuredServer(EmbeddedServer):
    """A single server with the deployed configuration."""

    def __init__(self, folder: Path, secrets: Secrets) -> None:
        folder.mkdir()
        self.secrets = secrets
        port, monitor = free_ports(2)
        environ = {
            **secrets.make(),
            "NATS_NAME": "secured",
            "NATS_LISTEN": f"127.0.0.1:{port}",
            "NATS_HTTP": f"127.0.0.1:{monitor}",
            "NATS_STORE": str(folder / "store"),
            "NATS_CA": str(secrets.folder / "ca.pem"),
            "NATS_CERT": str(secrets.folder / "server.pem"),
            "NATS_KEY": str(secrets.folder / "server.key"),
        }
        wrapper = folder / "server"
        exports = [f"export {name}='{value}'" for name, value in environ.items()]
        wrapper.write_text("\n".join(["#!/bin/sh", *exports, f"exec '{find_server()}' \"$@\"", ""]))
        wrapper.chmod(0o755)
        super().__init__(folder, port=port, binary=wrapper)

    def _configuration(self) -> str:
        deployed = relpath(NATS / "server.conf", self.log_path.parent)
        return _CONFIG.format(deployed=deployed, store=self.log_path.parent, log=self.log_path)

    def violations(self) -> list[str]:
        """What somebody was forbidden, a line of the server's log each."""
        return [line for line in self.log_path.read_text().splitlines() if "Violation" in line]


@asynccontextmanager
async def secured(folder: Path) -> AsyncIterator[SecuredServer]:
    """A server that runs while the block lasts; only its users may do anything."""
    async with SecuredServer(folder / "nats", Secrets(folder / "secrets")) as server:
        yield server
