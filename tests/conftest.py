import pytest

from tests.kit.broker import broker, bus, own_broker, own_bus, subjects
from tests.kit.cluster import cluster, cluster_bus
from tests.kit.postgres import postgres_server

__all__ = ["broker", "bus", "cluster", "cluster_bus", "own_broker", "own_bus", "postgres_server", "subjects"]


@pytest.fixture(scope="session")
def anyio_backend() -> str:
    return "asyncio"
