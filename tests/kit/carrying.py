"""What tests of relays begin with: logs to carry, and a reader of what has arrived."""

from collections.abc import AsyncIterator

import pytest

from tests.kit.broker import Broker
from tests.kit.downstream import Downstream, downstream
from tests.kit.writing import Logs
from vagus.contract.subjects import Subjects
from vagus.runtime.bus import Bus
from vagus.runtime.provision import ensure


@pytest.fixture
async def logs(bus: Bus, subjects: Subjects) -> Logs:
    await ensure(bus, subjects, partitions=1)
    return Logs(bus, subjects)


@pytest.fixture
async def reader(broker: Broker, subjects: Subjects) -> AsyncIterator[Downstream]:
    async with downstream(broker.url, subjects) as connected:
        yield connected
