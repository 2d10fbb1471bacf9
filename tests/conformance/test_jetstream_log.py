from collections.abc import AsyncIterator

import anyio
import pytest

from tests.conformance.event_log_suite import EventLogSuite
from tests.kit.relay import Relay, relay_to
from tests.kit.waiting import eventually
from vagus.contract.subjects import Subjects
from vagus.runtime.bus import Bus, connect
from vagus.runtime.embedded import EmbeddedServer
from vagus.runtime.jetstream_log import JetStreamLog


class JetStreamRig:
    """Two writers with connections of their own; ours leads through a relay that loses what it is told to."""

    def __init__(
        self, server: EmbeddedServer, relay: Relay, buses: tuple[Bus, Bus], subjects: Subjects, direct: bool
    ) -> None:
        self._server, self._relay, self._buses = server, relay, buses
        self.log, self.rival = (
            JetStreamLog(bus, subjects, direct=direct, settle_s=settle_s)
            for bus, settle_s in zip(buses, (2.0, 15.0), strict=True)
        )

    @property
    def lost(self) -> bool:
        return self._relay.lost

    def lose_next_ack(self, *, takes_again: bool = True) -> None:
        self._relay.lose_next_reply(takes_again=takes_again)

    def lose_next_commit(self) -> None:
        self._relay.lose_next_request(takes_again=False)

    async def mend(self) -> None:
        self._relay.mend()
        await eventually(lambda: all(bus.connected for bus in self._buses))

    async def restart(self) -> None:
        self._relay.deafen()
        self._server.kill()
        await eventually(lambda: not any(bus.connected for bus in self._buses))
        await self._server.start()
        await self.mend()


@pytest.fixture(scope="module")
async def server(
    anyio_backend: str, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[EmbeddedServer]:
    """Of this file only: it is killed now and then."""
    async with EmbeddedServer(tmp_path_factory.mktemp("nats")) as started:
        yield started


class TestJetStreamLog(EventLogSuite):
    @pytest.fixture(params=[True, False], ids=["direct", "consumer"])
    async def rig(
        self, request: pytest.FixtureRequest, server: EmbeddedServer, subjects: Subjects
    ) -> AsyncIterator[JetStreamRig]:
        async with (
            relay_to(server.port) as relay,
            connect(relay.url, name="ours") as ours,
            connect(server.url, name="theirs") as theirs,
        ):
            with anyio.fail_after(60):
                yield JetStreamRig(server, relay, (ours, theirs), subjects, request.param)
