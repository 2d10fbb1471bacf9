"""A server that goes away and comes back, each as its client has seen it.

A client that is not yet told of a dead server still counts as connected, and what it sends then is lost.
"""

from tests.kit.waiting import eventually
from vagus.runtime.bus import Bus
from vagus.runtime.embedded import EmbeddedServer


async def outage(broker: EmbeddedServer, bus: Bus, *, crash: bool = False) -> None:
    if crash:
        broker.kill()
    else:
        await broker.stop()
    await eventually(lambda: not bus.connected)


async def back(broker: EmbeddedServer, bus: Bus) -> None:
    await broker.start()
    await eventually(lambda: bus.connected)
