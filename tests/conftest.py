import pytest

from tests.kit.broker import broker, bus, subjects

__all__ = ["broker", "bus", "subjects"]


@pytest.fixture(scope="session")
def anyio_backend() -> str:
    return "asyncio"
