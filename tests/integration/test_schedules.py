"""Ticks for later: they run once, or again and again, and can be taken back."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

import vagus
from tests.kit import command_line
from tests.kit.audit import RICH, ended_ticks
from tests.kit.services import stored
from tests.kit.system import System, system
from tests.kit.waiting import eventually
from vagus.contract import extensions, limits
from vagus.contract.clock import parse
from vagus.contract.commands import Schedule
from vagus.contract.events import Custom
from vagus.contract.schedules import NewSchedule, Timing
from vagus.contract.sessions import TickInput
from vagus.contract.subjects import Subjects
from vagus.contract.tools import Priority
from vagus.runtime import clock
from vagus.runtime.embedded import EmbeddedServer
from vagus_kernel.calendar import Calendar

POLICY = vagus.PolicySet(
    allow_capabilities=("*",), gate_capabilities=(), max_tool_runtime_secs=60, max_events_per_turn=256
)
SOON_S = 0.3
NOTE = vagus.ToolCall(call_id="c1", tool_name="fs.write", input={"path": "note", "content": "x"})


@pytest.fixture
async def whole(broker: EmbeddedServer, subjects: Subjects, tmp_path: Path) -> AsyncIterator[System]:
    """A Vagus."""
    async with system(broker.url, subjects, tmp_path) as running:
        yield running


@pytest.fixture
async def session(whole: System) -> vagus.Session:
    """A session in it, with a budget for ticks without end."""
    return await whole.client.create_session(owner="me", policy=POLICY, session_id="s", budget=RICH)


async def ran(session: vagus.Session, schedule_id: str) -> list[str]:
    """The ticks of a schedule that have ended, by command id."""
    ended = await ended_ticks(session)
    return sorted(tick for tick in ended if tick == schedule_id or tick.startswith(f"{schedule_id}."))


async def test_a_tick_for_later_returns_at_once_and_runs_once(whole: System, session: vagus.Session) -> None:
    before = datetime.now(UTC)
    scheduled = await session.tick("look", command_id="t", after=timedelta(hours=1))
    assert (scheduled.schedule_id, scheduled.session_id, scheduled.branch_id) == ("t", "s", "main")
    assert scheduled.when.at == scheduled.due
    assert parse(scheduled.due) >= (before + timedelta(hours=1)).timestamp() * 1e9
    assert await session.schedules() == [scheduled]
    sooner = await session.tick("look", command_id="t", after=SOON_S)
    await eventually(lambda: ran(session, "t"))
    begun, *_ = [event async for event in session.history() if event.correlation_id == "t"]
    assert parse(begun.timestamp) >= parse(sooner.due)
    assert await session.schedules() == []
    assert not await session.unschedule("t")
    assert await stored(whole.bus, whole.subjects.named("SCHEDULES")) == 0


async def test_what_is_past_runs_at_once(session: vagus.Session) -> None:
    await session.create_branch("b")
    scheduled = await session.tick("look", branch="b", at=datetime(2020, 2, 29, tzinfo=UTC))
    await eventually(lambda: ran(session, scheduled.schedule_id))


async def test_a_tick_that_is_scheduled_again_after_it_ran_does_not_run_again(
    whole: System, session: vagus.Session
) -> None:
    await session.tick("look", command_id="t", after=0)
    await eventually(lambda: ran(session, "t"))
    await session.tick("look", command_id="t", after=0)
    await eventually(lambda: none_left(session))
    await session.tick("afterwards")
    assert await ran(session, "t") == ["t"]
    assert await whole.client.dead_letters() == []


async def none_left(session: vagus.Session) -> bool:
    return not await session.schedules()


async def test_a_schedule_that_repeats_ticks_under_a_new_id_each_time(session: vagus.Session) -> None:
    scheduled = await session.wake("write", every=1, schedule_id="w", tool=NOTE)
    assert scheduled.schedule_id == "w"
    await eventually(lambda: at_least(2, session, "w"))
    results = [event.kind.type async for event in session.history()]
    assert results.count("ToolCallCompleted") >= 2  # a call id that was used before would be refused


async def at_least(number: int, session: vagus.Session, schedule_id: str) -> list[str]:
    found = await ran(session, schedule_id)
    return found if len(found) >= number else []


async def priority_of(session: vagus.Session, command_id: str) -> Priority:
    """What the log says of a tick's start."""
    facts = [
        extensions.read(event.kind)
        async for event in session.history()
        if isinstance(event.kind, Custom) and event.correlation_id == command_id
    ]
    (started,) = (fact for fact in facts if isinstance(fact, extensions.TurnStarted))
    return started.priority


async def test_what_is_scheduled_keeps_its_priority(
    whole: System, session: vagus.Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("VAGUS_SERVER", whole.url)
    monkeypatch.setenv("VAGUS_ROOT_SUBJECT", whole.subjects.root)
    once = await session.tick("look", priority="high", after=0)
    await eventually(lambda: ran(session, once.schedule_id))
    assert await priority_of(session, once.schedule_id) is Priority.HIGH
    added = await command_line.run(
        "schedule", "add", "s", "tidy up", "--every", "1", "--id", "w", "--priority", "low"
    )
    assert (added.code, added.err) == (0, "")
    first, *_ = await eventually(lambda: ran(session, "w"))
    assert await priority_of(session, first) is Priority.LOW


async def test_what_was_taken_back_does_not_fire(whole: System, session: vagus.Session) -> None:
    await session.wake("again", every=1, schedule_id="w")
    await session.tick("never", command_id="t", after=3600)
    assert await session.unschedule("w")
    assert await session.unschedule("t")
    assert not await session.unschedule("t")
    assert await session.schedules() == []
    schedules = whole.subjects.named("SCHEDULES")
    start = await last_sequence(whole, schedules)
    later = await session.tick("later", after=1.2)
    await eventually(lambda: ran(session, later.schedule_id))
    assert await last_sequence(whole, schedules) == start + 2  # this one's, waiting and due


async def test_schedules_are_listed_the_next_one_first(session: vagus.Session) -> None:
    await session.wake("yearly", cron="0 0 1 1 *", schedule_id="c")
    await session.wake("hourly", every=timedelta(hours=1), schedule_id="e")
    await session.tick("x" * 1000, command_id="t", after=60)
    found = await session.schedules()
    assert [scheduled.schedule_id for scheduled in found] == ["t", "e", "c"]
    assert found[0].objective == "x" * 200
    assert found[2].due.endswith("-01-01T00:00:00Z")
    assert [scheduled.when.cron for scheduled in found] == [None, None, "0 0 1 1 *"]


async def test_a_session_has_a_bounded_number_of_schedules(
    session: vagus.Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "SCHEDULES", 2)
    for name in ("a", "b", "a"):
        await session.wake("x", cron="0 0 1 1 *", schedule_id=name)
    with pytest.raises(vagus.Refused, match="2 schedules"):
        await session.tick("x", after=60)
    await session.unschedule("b")
    await session.tick("x", after=60)


async def test_what_cannot_be_scheduled_is_refused_with_a_reason(
    whole: System, session: vagus.Session
) -> None:
    with pytest.raises(vagus.BranchNotFound):
        await session.tick("x", branch="nowhere", after=60)
    with pytest.raises(vagus.InvalidId):
        await session.tick("x", command_id="a.b", after=60)
    with pytest.raises(vagus.InvalidId):
        await session.unschedule("*")
    with pytest.raises(vagus.Refused, match="over the limit"):
        await session.tick("x" * (limits.SCHEDULED_BYTES + 1), after=60)
    with pytest.raises(vagus.Malformed, match="too far away"):
        await session.tick("x", after=timedelta(days=367))
    await session.close("done")
    with pytest.raises(vagus.BranchReadOnly):
        await session.wake("x", every=60)
    assert await whole.client.dead_letters() == []


async def test_the_schedules_of_a_closed_session_end_among_the_dead_letters(
    whole: System, session: vagus.Session
) -> None:
    """A kernel that does not know yet that the session is closed may still take them."""
    await session.close("done")
    calendar = Calendar("s", whole.bus, whole.subjects)
    for name, when in (("t", Timing(at=clock.now())), ("w", Timing(every_s=1))):
        body = NewSchedule(schedule_id=name, when=when, tick=TickInput(objective="look"))
        await calendar.add(Schedule(command_id=f"{name}.ask", session_id="s", schedule=body))
    expected = {
        f"schedule {name}: BranchReadOnly: session s is closed and is read-only; it is dropped"
        for name in ("t", "w")
    }
    await eventually(lambda: are_reasons(whole, expected))
    await eventually(lambda: holds(whole, whole.subjects.named("SCHEDULES"), 0))


async def are_reasons(whole: System, expected: set[str]) -> bool:
    return {letter.reason for letter in await whole.client.dead_letters("s")} == expected


async def last_sequence(whole: System, stream: str) -> int:
    info: Any = await whole.bus.api(f"STREAM.INFO.{stream}")
    return int(info["state"]["last_seq"])


async def beyond(whole: System, stream: str, sequence: int) -> bool:
    return await last_sequence(whole, stream) >= sequence


async def holds(whole: System, stream: str, number: int) -> bool:
    return await stored(whole.bus, stream) == number


async def test_what_was_missed_while_no_kernel_lived_is_one_tick(
    whole: System, session: vagus.Session
) -> None:
    schedules = whole.subjects.named("SCHEDULES")
    await session.wake("again", every=1, schedule_id="w")
    await whole.services["kernel3"].drain()
    before, inbox = await ran(session, "w"), await stored(whole.bus, whole.subjects.named("INBOX"))
    start = await last_sequence(whole, schedules)
    await eventually(lambda: beyond(whole, schedules, start + 2))
    assert await stored(whole.bus, schedules) == 2  # the schedule, and the last firing
    start = await last_sequence(whole, schedules)
    await whole.start("kernel")
    await eventually(lambda: at_least(len(before) + 1, session, "w"))
    await session.unschedule("w")
    fired = await last_sequence(whole, schedules) - start
    assert len(await ran(session, "w")) <= len(before) + inbox + 1 + fired


async def test_ticks_are_scheduled_listed_and_dropped_from_the_command_line(
    whole: System, session: vagus.Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("VAGUS_SERVER", whole.url)
    monkeypatch.setenv("VAGUS_ROOT_SUBJECT", whole.subjects.root)

    async def done(*arguments: str) -> command_line.Ran:
        run = await command_line.run(*arguments)
        assert (run.code, run.err) == (0, "")
        return run

    once = (await done("tick", "s", "look", "--after", "2h", "--json")).json
    assert once["due"] == once["when"]["at"]
    added = await done("schedule", "add", "s", "sum up", "--cron", "0 9 * * 1-5", "--id", "morning")
    assert "ticks by cron 0 9 * * 1-5, next at " in added.out
    listed = (await done("schedule", "list", "s", "--json")).json
    assert {item["schedule_id"] for item in listed} == {once["schedule_id"], "morning"}
    assert "sum up" in (await done("schedule", "list", "s")).out
    assert "dropped" in (await done("schedule", "drop", "s", "morning")).out
    assert (await done("schedule", "drop", "s", "morning", "--json")).json["dropped"] is False
    at = (await done("tick", "s", "now", "--at", "2020-01-01T00:00:00Z", "--json")).json
    await eventually(lambda: ran(session, at["schedule_id"]))
    refused = await command_line.run("schedule", "add", "s", "x", "--cron", "61 * * * *", "--json")
    assert (refused.code, refused.error["type"]) == (1, "Malformed")
