"""From due to the inbox, by itself: nothing lost, nothing twice, nothing in another session's name."""

from typing import Any

import anyio
import msgspec
import pytest

from tests.kit.services import impatient, stored
from tests.kit.waiting import eventually
from vagus.contract.commands import Schedule, Tick, decode_command
from vagus.contract.cron import parse_cron
from vagus.contract.errors import Malformed, Refused
from vagus.contract.messages import Role
from vagus.contract.schedules import FIRED_HEADER, PATTERN_HEADER, TARGET_HEADER, NewSchedule, Timing
from vagus.contract.sessions import TickInput
from vagus.contract.streams import due_consumer
from vagus.contract.subjects import Subjects
from vagus.runtime.bus import Bus
from vagus.runtime.provision import ensure
from vagus_kernel import mover
from vagus_kernel.calendar import Calendar
from vagus_kernel.mover import STORED, TAKEN, moving

PAST = "2020-02-29T00:00:00Z"


class Died(Exception):
    """The process ends here."""


class Desk:
    """A server with streams, and no kernel but a mover."""

    def __init__(self, bus: Bus, subjects: Subjects) -> None:
        self.bus = bus
        self.subjects = subjects
        self.calendar = Calendar("s", bus, subjects)
        self.inbox = subjects.named("INBOX")
        self.schedules = subjects.named("SCHEDULES")

    async def schedule(self, schedule_id: str = "t", when: Timing | None = None) -> None:
        body = NewSchedule(
            schedule_id=schedule_id, when=when or Timing(at=PAST), tick=TickInput(objective="look")
        )
        await self.calendar.add(Schedule(command_id=f"{schedule_id}-1", session_id="s", schedule=body))

    async def held(self, stream: str) -> int:
        return await stored(self.bus, stream)

    async def is_held(self, stream: str, number: int) -> bool:
        return await self.held(stream) == number

    async def command(self) -> "Stored":
        """The last one in the session's inbox."""
        subject = self.subjects.inbox_partition(0, Role.COMMAND, "s")
        answer = await self.bus.api(f"STREAM.MSG.GET.{self.inbox}", {"last_by_subj": subject})
        return msgspec.convert(answer["message"], Stored)


class Stored(msgspec.Struct):
    """A message as its stream has it."""

    data: bytes
    hdrs: bytes


@pytest.fixture
async def desk(bus: Bus, subjects: Subjects) -> Desk:
    await ensure(bus, subjects, partitions=1)
    return Desk(bus, subjects)


async def test_what_is_due_goes_to_its_session_and_is_gone(desk: Desk) -> None:
    await desk.schedule()
    async with moving(desk.bus, desk.subjects):
        await eventually(lambda: desk.is_held(desk.inbox, 1))
        await eventually(lambda: desk.is_held(desk.schedules, 0))
    message = await desk.command()
    command = decode_command(message.data)
    assert isinstance(command, Tick)
    assert (command.command_id, command.session_id, command.tick.objective) == ("t", "s", "look")
    assert f"{FIRED_HEADER}: t\r\n" in message.hdrs.decode()
    assert b"Nats-Schedule" not in message.hdrs


@pytest.mark.parametrize("point", [TAKEN, STORED])
async def test_a_kernel_that_dies_between_the_two_queues_repeats_nothing(
    desk: Desk, point: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    left = [1]

    def die(name: str) -> None:
        if name == point and left:
            left.pop()
            raise Died

    monkeypatch.setattr(mover, "hit", die)
    await impatient(desk.bus, due_consumer(desk.subjects))
    await desk.schedule()
    with pytest.raises(ExceptionGroup) as ended, anyio.fail_after(20):
        async with moving(desk.bus, desk.subjects):
            await anyio.sleep_forever()
    assert ended.group_contains(Died)
    assert await desk.held(desk.inbox) == (0 if point == TAKEN else 1)
    async with moving(desk.bus, desk.subjects):
        await eventually(lambda: desk.is_held(desk.schedules, 0))
    assert await desk.held(desk.inbox) == 1
    assert await desk.held(desk.subjects.named("DEAD")) == 0


async def test_what_a_full_inbox_refuses_stays_due(desk: Desk) -> None:
    info: Any = await desk.bus.api(f"STREAM.INFO.{desk.inbox}")
    await desk.bus.api(f"STREAM.UPDATE.{desk.inbox}", info["config"] | {"max_msgs": 1})
    await desk.bus.store(desk.subjects.inbox(Role.COMMAND, "other"), b"in the way")
    await desk.schedule()
    async with moving(desk.bus, desk.subjects):
        await eventually(lambda: in_hand(desk))
        assert await desk.held(desk.inbox) == 1
        await desk.bus.api(f"STREAM.PURGE.{desk.inbox}")
        await eventually(lambda: desk.is_held(desk.schedules, 0))
    assert decode_command((await desk.command()).data).command_id == "t"


async def in_hand(desk: Desk) -> bool:
    info: Any = await desk.bus.api(f"CONSUMER.INFO.{desk.schedules}.due")
    return bool(info["num_ack_pending"])


async def test_a_session_is_taken_from_the_schedules_subject_and_from_nothing_else(desk: Desk) -> None:
    """Even if somebody could write there: another's session is named by the target, by the body."""

    def headers(target: str) -> dict[str, str]:
        return {PATTERN_HEADER: f"@at {PAST}", TARGET_HEADER: target}

    ours, theirs = (
        msgspec.json.encode(Tick(command_id="x", session_id=name, tick=TickInput(objective="")))
        for name in ("s", "other")
    )
    subjects = desk.subjects
    await desk.bus.store(subjects.schedule("s", "a"), ours, headers=headers(subjects.due("other", "a")))
    await desk.bus.store(subjects.schedule("s", "b"), theirs, headers=headers(subjects.due("s", "b")))
    await desk.bus.store(subjects.due("s", "c"), ours)
    async with moving(desk.bus, subjects):
        await eventually(lambda: desk.is_held(subjects.named("DEAD"), 3))
    assert await desk.held(desk.inbox) == 0
    assert await desk.held(desk.schedules) == 0


async def test_what_no_kernel_wrote_is_not_listed_and_can_be_dropped(desk: Desk) -> None:
    schedule = desk.subjects.schedule
    pattern = {PATTERN_HEADER: "@every 1h", TARGET_HEADER: desk.subjects.due("s", "b")}
    await desk.bus.store(schedule("s", "a"), b"anything")
    await desk.bus.store(schedule("s", "b"), b"", headers=pattern)
    await desk.bus.store(schedule("s", "c"), b"{}", headers=pattern | {PATTERN_HEADER: "@every 3600000ms"})
    await desk.schedule("d", Timing(every_s=60))
    assert [scheduled.schedule_id for scheduled in await desk.calendar.schedules()] == ["d"]
    for name in "abcd":
        assert (await desk.calendar.drop(name)).dropped
    assert await desk.held(desk.schedules) == 0


CRONS = [
    "* * * * *", "*/15 * * * *", "5/20 1-3/2 * * *", "0 9 * * 1-5", "0 0 1 jan *", "0 0 29 2 *", "0 0 30 2 *",
    "0 0 * * SUN,tue-THU", "0 0 */2 * 0", "60 * * * *", "* 24 * * *", "* * 0 * *", "* * * 13 *", "* * * * 7",
    "5-1 * * * *", "*/0 * * * *", "* * * * monday", "1 2 3 4", "a * * * *",
]  # fmt: skip


async def test_the_server_reads_the_same_expressions_as_we_do(desk: Desk) -> None:
    found: dict[str, tuple[bool, bool]] = {}
    for cron in CRONS:
        try:
            parse_cron(cron).after(0)
            ours = True
        except Malformed:
            ours = False
        headers = {PATTERN_HEADER: f"0 {cron}", TARGET_HEADER: desk.subjects.due("s", "c")}
        try:
            await desk.bus.store(desk.subjects.schedule("s", "c"), b"", headers=headers)
            theirs = True
        except Refused:
            theirs = False
        found[cron] = ours, theirs
    assert {cron: both for cron, both in found.items() if len(set(both)) == 2} == {}
    assert {ours for ours, _ in found.values()} == {True, False}
