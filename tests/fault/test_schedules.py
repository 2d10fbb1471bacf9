"""A tick for later runs once, whatever dies before it does."""

import signal
from pathlib import Path

import vagus
from tests.kit.audit import RICH, ended_ticks
from tests.kit.processes import process
from tests.kit.services import stored
from tests.kit.system import system
from tests.kit.waiting import eventually
from vagus.contract.clock import parse
from vagus.contract.subjects import Subjects
from vagus.runtime import clock
from vagus.runtime.bus import Bus
from vagus.runtime.embedded import EmbeddedServer
from vagus_kernel.mover import TAKEN

POLICY = vagus.PolicySet.preset("pro")


async def has_ended(session: vagus.Session, command_id: str) -> bool:
    return command_id in await ended_ticks(session)


async def test_a_tick_that_is_due_survives_the_kernel_that_moves_it(
    broker: EmbeddedServer, subjects: Subjects, tmp_path: Path
) -> None:
    async with system(broker.url, subjects, tmp_path) as whole:
        session = await whole.client.create_session(owner="me", policy=POLICY, session_id="s")
        await session.tick("look", command_id="t", after=1)
        await whole.services["kernel3"].drain()
        environ = whole.environ | {"VAGUS_INSTANCE": "mortal"}
        async with process(
            "vagus_kernel", environ | {"VAGUS_FAULT": TAKEN}, tmp_path / "first.log", ready=False
        ) as first:
            assert await first.ended() == -signal.SIGKILL
        assert not await has_ended(session, "t")
        async with process("vagus_kernel", environ, tmp_path / "second.log"):
            await eventually(lambda: has_ended(session, "t"), timeout_s=45)
            await eventually(lambda: is_empty(whole.bus, subjects.named("SCHEDULES")))
            assert await whole.client.dead_letters() == []


async def is_empty(bus: Bus, stream: str) -> bool:
    return await stored(bus, stream) == 0


async def test_schedules_survive_a_server_that_is_killed_and_fire_late_once(
    own_broker: EmbeddedServer, subjects: Subjects, tmp_path: Path
) -> None:
    async with system(own_broker.url, subjects, tmp_path) as whole:
        session = await whole.client.create_session(owner="me", policy=POLICY, session_id="s", budget=RICH)
        once = await session.tick("look", command_id="t", after=1)
        await session.wake("again", every=1, schedule_id="w")
        own_broker.kill()
        await eventually(lambda: clock.now_ns() > parse(once.due) + 1.5e9)
        await own_broker.start()
        began = clock.now_ns()
        await eventually(lambda: whole.client.bus.connected)
        await eventually(lambda: has_ended(session, "t"), timeout_s=45)
        await eventually(lambda: goes_on(session))
        ticks = [tick for tick in await ended_ticks(session) if tick.startswith("w.")]
        seconds = (clock.now_ns() - began) / 1e9
        assert len(ticks) <= seconds + 3  # before the kill, for all that was missed, and rounding
        assert await whole.client.dead_letters() == []


async def goes_on(session: vagus.Session) -> bool:
    return len([tick for tick in await ended_ticks(session) if tick.startswith("w.")]) >= 2
