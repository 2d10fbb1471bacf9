import pytest

from tests.kit.broker import broker, bus, own_broker, own_bus, subjects
from tests.kit.carrying import logs, reader
from tests.kit.cluster import cluster, cluster_bus
from tests.kit.postgres import postgres_server

__all__ = [
    "broker",
    "bus",
    "cluster",
    "cluster_bus",
    "logs",
    "own_broker",
    "own_bus",
    "postgres_server",
    "reader",
    "subjects",
]


@pytest.fixture(scope="session")
def anyio_backend() -> str:
    return "asyncio"
