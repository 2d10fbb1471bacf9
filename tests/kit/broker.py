"""A real nats-server for the whole run; a root token of its own for every test."""

import secrets
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from vagus.contract.subjects import Subjects
from vagus.runtime.bus import Bus, connect
from vagus.runtime.embedded import EmbeddedServer


@pytest.fixture(scope="session")
async def broker(
    anyio_backend: str, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[EmbeddedServer]:
    """One server; tests that stop or kill a server start their own."""
    async with EmbeddedServer(tmp_path_factory.mktemp("nats"), durability="fast") as server:
        yield server


@pytest.fixture
def subjects() -> Subjects:
    """Names that no other test has."""
    return Subjects(root="t" + secrets.token_hex(6))


@pytest.fixture
async def bus(broker: EmbeddedServer) -> AsyncIterator[Bus]:
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
