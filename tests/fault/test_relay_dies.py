"""Relays and the server are killed between any two steps; the firehose has every event once, in order."""

import os
import signal
from contextlib import AsyncExitStack
from pathlib import Path

from tests.kit.downstream import downstream, moved_on
from tests.kit.processes import RealProcess, process
from tests.kit.shelving import shelved
from tests.kit.waiting import eventually
from tests.kit.writing import Logs, written
from vagus.contract.subjects import Subjects
from vagus.runtime.bus import Bus
from vagus.runtime.embedded import EmbeddedServer
from vagus.runtime.provision import ensure
from vagus_relay.firehose import COMMITS_READ, STANDING_NOTED
from vagus_relay.press import BATCH_SENT, BATCH_STORED

PATIENCE_S = 60.0


def environ(url: str, subjects: Subjects, name: str = "mortal", fault: str = "") -> dict[str, str]:
    return {
        "VAGUS_SERVER": url,
        "VAGUS_ROOT_SUBJECT": subjects.root,
        "VAGUS_PARTITIONS": "1",
        "VAGUS_INSTANCE": name,
        "VAGUS_FAULT": fault,
    }


async def complete(url: str, subjects: Subjects, logs: Logs) -> bool:
    """Read with plain nats-py: what the logs have, branch by branch, and nothing twice."""
    async with downstream(url, subjects) as reader:
        return await reader.lines() == await reader.logged(logs.sessions)


async def test_a_relay_is_killed_at_each_of_its_steps_and_the_next_one_goes_on(
    own_broker: EmbeddedServer, own_bus: Bus, subjects: Subjects, tmp_path: Path
) -> None:
    await ensure(own_bus, subjects, partitions=1)
    logs, url = Logs(own_bus, subjects), own_broker.url
    await logs.commit("early", "one", "two", "three")
    async with written(logs):
        for number, fault in enumerate(
            (COMMITS_READ, f"{BATCH_SENT}:2", f"{BATCH_STORED}:2", STANDING_NOTED)
        ):
            mortal = environ(url, subjects, fault=fault)
            async with process("vagus_relay", mortal, tmp_path / f"{number}.log") as relay:
                if fault == STANDING_NOTED:
                    await moved_on(own_bus, subjects)
                    relay.send(signal.SIGTERM)  # it notes how far it has come
                assert await relay.ended(PATIENCE_S) == -signal.SIGKILL
    async with process("vagus_relay", environ(url, subjects), tmp_path / "last.log"):
        await eventually(lambda: complete(url, subjects, logs), timeout_s=PATIENCE_S, every_s=0.2)


async def test_a_relay_is_killed_while_it_carries_what_was_archived_and_the_next_one_goes_on(
    own_broker: EmbeddedServer, own_bus: Bus, subjects: Subjects, tmp_path: Path
) -> None:
    await ensure(own_bus, subjects, partitions=1)
    logs, url = Logs(own_bus, subjects), own_broker.url
    for number in range(600):  # of which a relay carries 256 a turn
        await logs.commit("s", f"{number}")
    async with downstream(url, subjects) as reader:
        wanted = await shelved(own_bus, subjects, logs, reader, "s")
        for fault in (BATCH_STORED, f"{COMMITS_READ}:2", BATCH_SENT):
            mortal = environ(url, subjects, fault=fault)
            async with process("vagus_relay", mortal, tmp_path / f"{fault}.log", ready=False) as relay:
                assert await relay.ended(PATIENCE_S) == -signal.SIGKILL

        async def whole() -> bool:
            return await reader.lines() == wanted

        assert not await whole()
        async with process("vagus_relay", environ(url, subjects), tmp_path / "last.log"):
            await eventually(whole, timeout_s=PATIENCE_S, every_s=0.2)


async def test_the_server_and_a_relay_are_killed_under_load(
    own_broker: EmbeddedServer, own_bus: Bus, subjects: Subjects, tmp_path: Path
) -> None:
    await ensure(own_bus, subjects, partitions=1)
    logs, url = Logs(own_bus, subjects), own_broker.url
    async with AsyncExitStack() as stack:

        async def relay(name: str) -> RealProcess:
            settings = environ(url, subjects, name)
            return await stack.enter_async_context(process("vagus_relay", settings, tmp_path / f"{name}.log"))

        await relay("one")
        two = await relay("two")
        async with written(logs):
            for kill in range(2):
                await moved_on(own_bus, subjects)
                assert own_broker.pid is not None
                os.kill(own_broker.pid, signal.SIGKILL)
                await eventually(lambda: own_broker.pid is None)
                await own_broker.start()
                if kill == 1:
                    two.send(signal.SIGKILL)
            await moved_on(own_bus, subjects)
        await eventually(lambda: complete(url, subjects, logs), timeout_s=PATIENCE_S, every_s=0.5)
