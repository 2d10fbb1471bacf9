import pytest

from tests.kit.broker import broker, bus, own_broker, own_bus, subjects

__all__ = ["broker", "bus", "own_broker", "own_bus", "subjects"]


@pytest.fixture(scope="session")
def anyio_backend() -> str:
    return "asyncio"
