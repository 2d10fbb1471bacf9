"""A real nats-server for the whole run; a root token of its own for every test."""

import os
import secrets
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Protocol

import pytest

from vagus.contract.subjects import Subjects
from vagus.runtime.bus import Bus, connect
from vagus.runtime.embedded import EmbeddedServer


class Broker(Protocol):
    """A server that all tests share."""

    @property
    def url(self) -> str:
        """Where it listens."""
        ...

    @property
    def port(self) -> int:
        """The port in it."""
        ...


class Contained:
    """A server in a container."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.port = int(url.rpartition(":")[2])


@pytest.fixture(scope="session")
async def broker(anyio_backend: str, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Broker]:
    """One server, in a container if `VAGUS_TEST_BROKER` says so; tests that stop a server start their own."""
    folder = tmp_path_factory.mktemp("nats")
    if os.environ.get("VAGUS_TEST_BROKER") == "container":
        from tests.kit.container import engine, nats_in_a_container

        if (missing := engine()) is not None:
            pytest.fail(f"VAGUS_TEST_BROKER=container needs a Docker engine: {missing}")
        with nats_in_a_container(folder) as url:
            yield Contained(url)
        return
    async with EmbeddedServer(folder, durability="fast") as server:
        yield server


@pytest.fixture
def subjects() -> Subjects:
    """Names that no other test has."""
    return Subjects(root="t" + secrets.token_hex(6))


@pytest.fixture
async def bus(broker: Broker) -> AsyncIterator[Bus]:
    """A connection for this test."""
    async with connect(broker.url, name="test") as connection:
        yield connection


@pytest.fixture
async def own_broker(tmp_path: Path) -> AsyncIterator[EmbeddedServer]:
    """A server for a test that stops, freezes or kills it."""
    async with EmbeddedServer(tmp_path / "nats", durability="fast") as server:
        yield server


@pytest.fixture
async def own_bus(own_broker: EmbeddedServer) -> AsyncIterator[Bus]:
    """A connection to `own_broker`."""
    async with connect(own_broker.url, name="test") as connection:
        yield connection
