"""One nats-server, or three that are a cluster."""

import os
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

from tests.kit.cluster import Cluster, clustered
from vagus.runtime.bus import connect
from vagus.runtime.embedded import EmbeddedServer

START_S: Final = 120.0
"""Of a server with a large store, on a slow machine."""


class Servers:
    """All of them. What a killed server had acknowledged it has on its disk."""

    def __init__(self, nodes: tuple[EmbeddedServer, ...], cluster: Cluster | None) -> None:
        self.nodes = nodes
        self._cluster = cluster

    @property
    def ports(self) -> list[int]:
        """Where they listen."""
        return [node.port for node in self.nodes]

    @property
    def url(self) -> str:
        """The straight way to all of them."""
        return ",".join(node.url for node in self.nodes)

    async def leader(self, stream: str) -> EmbeddedServer:
        """The server that leads a stream."""
        if self._cluster is None:
            return self.nodes[0]
        async with connect(self.url, name="chaos") as bus:
            return await self._cluster.leader(bus, stream)

    async def whole(self) -> None:
        """Wait until everybody runs and has caught up: until then the next fault would leave no majority."""
        for node in self.nodes:
            await node.start(START_S)
        if self._cluster is not None:
            async with connect(self.url, name="chaos") as bus:
                await self._cluster.whole(bus)


def freeze(node: EmbeddedServer) -> None:
    """Have a server stand still."""
    _send(node, signal.SIGSTOP)


def thaw(node: EmbeddedServer) -> None:
    """Have it go on."""
    _send(node, signal.SIGCONT)


def _send(node: EmbeddedServer, number: signal.Signals) -> None:
    if node.pid is not None:
        os.kill(node.pid, number)


@asynccontextmanager
async def servers(folder: Path, number: int) -> AsyncIterator[Servers]:
    """So many, 1 or 3, while the block lasts; with an fsync for every acknowledged write."""
    if number == 1:
        async with EmbeddedServer(folder / "nats") as server:
            yield Servers((server,), None)
    else:
        async with clustered(folder / "nats") as cluster:
            yield Servers(cluster.nodes, cluster)
