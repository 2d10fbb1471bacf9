"""Three nats-servers on loopback that are one cluster; each can be killed, frozen and started again."""

import os
import random
import signal
import socket
import urllib.request
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager, suppress
from pathlib import Path

import anyio
import msgspec
import pytest
from anyio.to_thread import run_sync

from tests.kit.waiting import eventually
from vagus.contract.errors import VagusError
from vagus.runtime.bus import Bus, connect
from vagus.runtime.embedded import Durability, EmbeddedServer

SIZE = 3
ELECTED_S = 60.0
"""A leader that died is missed after 4 to 9 s; candidates may collide, and the machine may be slow."""

_CLUSTER = """\
server_name: {name}
http: "127.0.0.1:{monitor}"
cluster {{
  name: vagus
  listen: "127.0.0.1:{route}"
  no_advertise: true
  routes: [{routes}]
}}
"""


class _Meta(msgspec.Struct):
    leader: str = ""


class _Jsz(msgspec.Struct):
    meta_cluster: _Meta = msgspec.field(default_factory=_Meta)


class _Peer(msgspec.Struct):
    current: bool = False
    offline: bool = False


class _Group(msgspec.Struct):
    leader: str = ""
    replicas: list[_Peer] = []


class Node(EmbeddedServer):
    """One server of the cluster."""

    def __init__(
        self, store: Path, name: str, durability: Durability, ports: tuple[int, int, int], routes: list[int]
    ) -> None:
        port, route, monitor = ports
        super().__init__(store, durability=durability, port=port)
        self.name = name
        self._monitor = monitor
        self._clustered = _CLUSTER.format(
            name=name,
            monitor=monitor,
            route=route,
            routes=", ".join(f'"nats-route://127.0.0.1:{port}"' for port in routes),
        )

    def _configuration(self) -> str:
        return super()._configuration().replace("server_name: vagus\n", self._clustered)

    @contextmanager
    def frozen(self) -> Iterator[None]:
        """Stand still while the block lasts (SIGSTOP), connections and all."""
        pid = self.pid
        assert pid is not None
        os.kill(pid, signal.SIGSTOP)
        os.waitpid(pid, os.WUNTRACED)  # until it stands still
        try:
            yield
        finally:
            os.kill(pid, signal.SIGCONT)

    def meta_leader(self) -> str:
        """Whom this server takes for the leader of all of JetStream; empty if for nobody."""
        with urllib.request.urlopen(f"http://127.0.0.1:{self._monitor}/jsz", timeout=2) as answer:
            return msgspec.json.decode(answer.read(), type=_Jsz).meta_cluster.leader


class Cluster:
    """All of them."""

    def __init__(self, folder: Path, durability: Durability) -> None:
        ports = free_ports(3 * SIZE)
        routes = ports[SIZE : 2 * SIZE]
        self.nodes = tuple(
            Node(folder / f"n{number}", f"n{number}", durability, own, routes)
            for number, own in enumerate(zip(ports[:SIZE], routes, ports[2 * SIZE :], strict=True))
        )

    @property
    def url(self) -> str:
        """Where clients connect: all servers, separated by commas."""
        return ",".join(node.url for node in self.nodes)

    def node(self, name: str) -> Node:
        """The server of this name."""
        return next(node for node in self.nodes if node.name == name)

    async def meta_leader(self) -> Node:
        """The server that leads all of JetStream, as soon as the servers that run agree on one."""

        async def agreed() -> str:
            running = [node for node in self.nodes if node.pid is not None]
            try:
                names = {await run_sync(node.meta_leader) for node in running}
            except OSError:  # it has just begun, or has more to do
                return ""
            return names.pop() if len(names) == 1 else ""

        return self.node(await eventually(agreed, timeout_s=ELECTED_S, every_s=0.1))

    async def leader(self, bus: Bus, stream: str, consumer: str = "") -> Node:
        """The server that leads a stream, or a consumer of it, as soon as there is one."""

        async def led() -> str:
            group = await _group(bus, stream, consumer)
            return "" if group is None else group.leader

        return self.node(await eventually(led, timeout_s=ELECTED_S))

    async def lead(self, bus: Bus, node: Node, stream: str, consumer: str = "") -> None:
        """Have a server lead a stream, or a consumer of it."""
        kind, address = ("CONSUMER", f"{stream}.{consumer}") if consumer else ("STREAM", stream)
        wish = {"placement": {"preferred": node.name}}
        with anyio.fail_after(ELECTED_S):
            while await self.leader(bus, stream, consumer) is not node:
                with suppress(VagusError):  # while they elect one nobody may answer
                    await bus.api(f"{kind}.LEADER.STEPDOWN.{address}", wish)

    async def follower(self, bus: Bus, stream: str) -> Node:
        """A server that does not lead a stream."""
        leader = await self.leader(bus, stream)
        return next(node for node in self.nodes if node is not leader)

    async def whole(self, bus: Bus) -> None:
        """Wait until every server has caught up with all streams."""

        async def caught_up() -> bool:
            try:
                names = (await bus.api("STREAM.NAMES", timeout_s=2))["streams"]
            except VagusError:
                return False
            groups = [await _group(bus, stream) for stream in msgspec.convert(names, list[str])]
            return all(group is not None and all(map(_current, group.replicas)) for group in groups)

        await eventually(caught_up, timeout_s=ELECTED_S, every_s=0.1)

    async def start(self) -> None:
        """Start all that do not run, and wait until JetStream works on all of them."""
        async with anyio.create_task_group() as group:
            for node in self.nodes:
                group.start_soon(node.start)
        async with connect(self.url, name="test") as bus:
            await eventually(lambda: _takes_streams(bus), timeout_s=ELECTED_S, every_s=0.05)


def _current(peer: _Peer) -> bool:
    return peer.current and not peer.offline


async def _group(bus: Bus, stream: str, consumer: str = "") -> _Group | None:
    """The replicas of a stream or consumer; None while nobody leads them."""
    address = f"CONSUMER.INFO.{stream}.{consumer}" if consumer else f"STREAM.INFO.{stream}"
    try:
        info = await bus.api(address, timeout_s=1)
    except VagusError:
        return None
    group = msgspec.convert(info.get("cluster", {}), _Group)
    return group if group.leader else None


async def _takes_streams(bus: Bus) -> bool:
    """Whether the servers know each other and have chosen a leader."""
    try:
        scratch = {"name": "READY", "subjects": ["ready"], "num_replicas": SIZE}
        await bus.api("STREAM.CREATE.READY", scratch, timeout_s=2)
        await bus.api("STREAM.DELETE.READY", timeout_s=2)
    except VagusError:
        return False
    return True


def free_ports(count: int) -> list[int]:
    """Ports that nobody listens on at this moment, nor will by accident: systems give out higher ones."""
    found: list[int] = []
    while len(found) < count:
        port = random.randrange(20_000, 32_000)
        with suppress(OSError), socket.create_server(("127.0.0.1", port)):
            if port not in found:
                found.append(port)
    return found


@asynccontextmanager
async def clustered(folder: Path, *, durability: Durability = "sync") -> AsyncIterator[Cluster]:
    """A cluster that runs while the block lasts."""
    cluster = Cluster(folder, durability)
    async with AsyncExitStack() as stack:
        for node in cluster.nodes:
            stack.push_async_exit(node.__aexit__)
        await cluster.start()
        yield cluster


@pytest.fixture
async def cluster(tmp_path: Path) -> AsyncIterator[Cluster]:
    """A cluster of this test alone."""
    async with clustered(tmp_path / "cluster") as running:
        yield running


@pytest.fixture
async def cluster_bus(cluster: Cluster) -> AsyncIterator[Bus]:
    """A connection to it."""
    async with connect(cluster.url, name="test") as connection:
        yield connection
