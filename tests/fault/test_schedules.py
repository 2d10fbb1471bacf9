"""A tick for later runs once, whatever dies before it does."""

import signal
from contextlib import suppress
from pathlib import Path

import pytest

import vagus
from tests.kit.audit import RICH, ended_ticks
from tests.kit.cluster import Cluster
from tests.kit.processes import process
from tests.kit.services import stored
from tests.kit.system import System, system
from tests.kit.waiting import eventually
from vagus.contract.clock import parse
from vagus.contract.commands import Schedule
from vagus.contract.schedules import NewSchedule, Timing
from vagus.contract.sessions import TickInput
from vagus.contract.subjects import Subjects
from vagus.runtime import clock
from vagus.runtime.bus import Bus, connect
from vagus.runtime.embedded import EmbeddedServer
from vagus.runtime.provision import ensure
from vagus_kernel.calendar import Calendar
from vagus_kernel.mover import TAKEN

POLICY = vagus.PolicySet.preset("pro")
PATIENT_S = 90.0


async def has_ended(session: vagus.Session, command_id: str) -> bool:
    return command_id in await ended_ticks(session)


async def due_now(whole: System, command_id: str) -> None:
    """What a kernel would have stored before it went."""
    body = NewSchedule(schedule_id=command_id, when=Timing(at=clock.now()), tick=TickInput(objective="look"))
    command = Schedule(command_id=f"{command_id}.ask", session_id="s", schedule=body)
    await Calendar("s", whole.bus, whole.subjects).add(command)


async def test_a_tick_that_is_due_survives_the_kernel_that_moves_it(
    broker: EmbeddedServer, subjects: Subjects, tmp_path: Path
) -> None:
    async with system(broker.url, subjects, tmp_path) as whole:
        session = await whole.client.create_session(owner="me", policy=POLICY, session_id="s")
        await whole.services["kernel3"].drain()
        await due_now(whole, "t")
        environ = whole.environ | {"VAGUS_INSTANCE": "mortal"}
        async with process(
            "vagus_kernel", environ | {"VAGUS_FAULT": TAKEN}, tmp_path / "first.log", ready=False
        ) as first:
            assert await first.ended(PATIENT_S) == -signal.SIGKILL
        assert not await has_ended(session, "t")
        async with process("vagus_kernel", environ, tmp_path / "second.log", ready=False):
            await eventually(lambda: has_ended(session, "t"), timeout_s=PATIENT_S)
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
        away_ns = clock.now_ns()
        await eventually(lambda: clock.now_ns() > max(away_ns, parse(once.due)) + 2.5e9)
        back_ns = clock.now_ns()
        await own_broker.start()
        await eventually(lambda: whole.client.bus.connected, timeout_s=PATIENT_S)
        await eventually(lambda: has_ended(session, "t"), timeout_s=PATIENT_S)
        await eventually(lambda: more(session, 1), timeout_s=PATIENT_S)
        following = [parse(tick.removeprefix("w.")) for tick in await fired(session)]
        assert len([ns for ns in following if away_ns + 1e9 < ns <= back_ns]) <= 1
        assert await whole.client.dead_letters() == []


@pytest.mark.cluster
async def test_schedules_survive_the_server_of_a_cluster_that_keeps_their_time(
    cluster: Cluster, subjects: Subjects, tmp_path: Path
) -> None:
    """Also while a firing is on its way to the others: it may be stored twice, and is one tick."""
    schedules = subjects.named("SCHEDULES")
    async with system(cluster.url, subjects, tmp_path, replicas=3) as whole:
        session = await whole.client.create_session(owner="me", policy=POLICY, session_id="s", budget=RICH)
        await session.wake("again", every=1, schedule_id="w")
        once = [await session.tick("look", command_id=f"t{number}", after=number) for number in range(1, 9)]
        for _ in range(2):
            ticks = len(await fired(session))
            leader = await cluster.leader(whole.bus, schedules)
            leader.kill()
            await eventually(lambda: more(session, ticks), timeout_s=PATIENT_S)  # noqa: B023 -- awaited here
            await leader.start()
            await cluster.whole(whole.bus)
        await eventually(lambda: all_ended(session, once), timeout_s=PATIENT_S)
        assert await whole.client.dead_letters() == []


async def fired(session: vagus.Session) -> list[str]:
    return [tick for tick in await ended_ticks(session) if tick.startswith("w.")]


async def more(session: vagus.Session, than: int) -> bool:
    with suppress(vagus.Transient, vagus.OutcomeUnknown):  # the server that we ask is the one
        return len(await fired(session)) > than
    return False


async def all_ended(session: vagus.Session, schedules: list[vagus.Scheduled]) -> bool:
    return {scheduled.schedule_id for scheduled in schedules} <= await ended_ticks(session)


async def test_one_that_was_replaced_and_dropped_does_not_come_back_with_a_killed_server(
    own_broker: EmbeddedServer, subjects: Subjects
) -> None:
    async with connect(own_broker.url, name="test") as bus:
        await ensure(bus, subjects, partitions=1)
        calendar = Calendar("s", bus, subjects)
        for name, command_id, every_s in (
            ("other", "c0", 3600.0),
            ("w", "c1", 3600.0),
            ("w", "c2", 7200.0),
            ("w", "c2", 7200.0),  # delivered again
        ):
            body = NewSchedule(schedule_id=name, when=Timing(every_s=every_s), tick=TickInput(objective=""))
            await calendar.add(Schedule(command_id=command_id, session_id="s", schedule=body))
        standing = {found.schedule_id: found.when for found in await calendar.schedules()}
        assert standing == {"other": Timing(every_s=3600.0), "w": Timing(every_s=7200.0)}
        await calendar.drop("w")
    own_broker.kill()
    await own_broker.start()
    async with connect(own_broker.url, name="test") as bus:
        assert [found.schedule_id for found in await Calendar("s", bus, subjects).schedules()] == ["other"]
