"""The firehose has what was archived while no relay looked, and looking for it costs what has changed."""

from pathlib import Path

import anyio

from tests.integration.test_archive import POLICY, log_streams
from tests.integration.test_relay import hosed, relay
from tests.kit.broker import Broker
from tests.kit.downstream import Branches, Downstream, downstream
from tests.kit.shelving import shelved
from tests.kit.system import system
from tests.kit.waiting import eventually
from tests.kit.writing import Logs
from vagus.contract.archives import Placement
from vagus.contract.codec import decode_record, encode_record
from vagus.contract.erasures import is_tombstone
from vagus.contract.messages import decode
from vagus.contract.streams import ARCHIVED, RELAYED, events
from vagus.contract.subjects import Subjects
from vagus.runtime.archive.keeper import Keeper
from vagus.runtime.archive.parts import Parts
from vagus.runtime.archive.placements import Placements
from vagus.runtime.bucket import Bucket
from vagus.runtime.bus import Bus
from vagus.runtime.provision import ensure_firehose
from vagus_relay.firehose import Firehose
from vagus_relay.settings import Beginning


async def has(reader: Downstream, wanted: Branches) -> bool:
    """The firehose has these events, branch by branch, and no others."""
    return await reader.lines() == wanted


async def test_a_session_that_was_archived_while_no_relay_ran_is_told_whole(
    broker: Broker, subjects: Subjects, tmp_path: Path
) -> None:
    async with (
        system(broker.url, subjects, tmp_path, services="kernel") as whole,
        downstream(broker.url, subjects) as reader,
    ):
        first = await whole.start("relay", "first")
        session = await whole.client.create_session(owner="me", policy=POLICY, session_id="s")
        await session.tick("one")
        await first.drain()
        await session.create_branch("b")
        await session.tick("two", branch="b")
        await whole.client.archive_session("s")
        assert await log_streams(whole.bus, subjects) == []
        logged = [event.record async for event in session.history()]
        wanted = {
            ("s", branch): [encode_record(record) for record in logged if record.branch_id == branch]
            for branch in ("main", "b")
        }
        await whole.start("relay", "second")
        await eventually(lambda: has(reader, wanted))
        assert await log_streams(whole.bus, subjects) == []  # nothing was restored for it


async def test_a_long_archive_is_told_from_where_the_firehose_stands(
    bus: Bus, subjects: Subjects, logs: Logs, reader: Downstream
) -> None:
    await logs.commit("s", "told before")
    async with relay(bus, subjects):
        await eventually(lambda: _counted(reader, 1))
    for number in range(30):  # in several parts
        await logs.commit("s", *[f"{number}" * 10_000] * 2)
    for number in range(300):  # more commits than a turn
        await logs.commit("other", f"{number}")
    wanted = await shelved(bus, subjects, logs, reader, "s", "other")
    async with relay(bus, subjects):
        await eventually(lambda: has(reader, wanted))


async def test_what_a_living_relay_was_not_told_of_is_found_in_the_archive_by_a_survey(
    bus: Bus, subjects: Subjects, logs: Logs, reader: Downstream
) -> None:
    async with hosed(bus, subjects, "a", hinted=False) as firehose:
        await logs.commit("s", "one")
        await firehose.roster.survey()
        await eventually(lambda: firehose.published == 1)
        await logs.commit("s", "two", "three")
        wanted = await shelved(bus, subjects, logs, reader, "s")
        await firehose.roster.survey()
        await eventually(lambda: has(reader, wanted))


async def test_an_archived_session_is_remembered_until_it_is_noted_how_far_it_has_come(
    bus: Bus, subjects: Subjects, logs: Logs, reader: Downstream
) -> None:
    await logs.commit("s", "one")
    wanted = await shelved(bus, subjects, logs, reader, "s")
    async with hosed(bus, subjects, "a") as firehose:
        await firehose.roster.survey()
        await eventually(lambda: has(reader, wanted))
        await eventually(lambda: not firehose.roster.tracks["s"].taken)
        await firehose.roster.survey()
        assert firehose.roster.tracks["s"].unnoted
        await firehose.note()
        await firehose.roster.survey()
        assert firehose.roster.tracks == {}
    await bus.api(f"STREAM.PURGE.{subjects.named('EVENTS')}")
    async with hosed(bus, subjects, "b") as later:
        await later.roster.survey()
        assert later.roster.tracks == {}  # it is noted: what has aged out is not told again


async def test_a_survey_reads_of_archived_sessions_what_has_changed(
    bus: Bus, subjects: Subjects, logs: Logs, reader: Downstream
) -> None:
    placements = Placements(bus, subjects)
    for session in ("a", "b", "c"):
        await logs.commit(session, "one")
    assert await placements.archived(0, lambda _: True) == ({}, 0)
    await shelved(bus, subjects, logs, reader, "a", "b")
    first, until = await placements.archived(0, lambda _: True)
    assert first == {"a": 2, "b": 2}
    assert await placements.archived(until, lambda _: True) == ({}, until)
    await shelved(bus, subjects, logs, reader, "c")
    await Keeper(bus, subjects).restore("a")
    changed, later = await placements.archived(until, lambda _: True)
    assert changed == {"c": 2}
    assert later > until
    assert await placements.archived(0, lambda session: session < "c") == ({"b": 2}, later)
    assert (await placements.archived(later + 9, lambda _: True))[0] == {"b": 2, "c": 2}  # of another bucket


async def test_where_nothing_was_ever_archived_a_relay_does_its_work(
    bus: Bus, subjects: Subjects, logs: Logs, reader: Downstream
) -> None:
    await bus.api(f"STREAM.DELETE.KV_{subjects.named(ARCHIVED)}")  # as an earlier version has made it
    await logs.commit("s", "one")
    async with relay(bus, subjects):
        await eventually(lambda: _counted(reader, 1))


async def test_who_comes_to_own_an_archived_session_tells_what_it_lacks(
    bus: Bus, subjects: Subjects, logs: Logs, reader: Downstream
) -> None:
    names = [f"s{number}" for number in range(6)]
    for name in names:
        await logs.commit(name, "one")
    wanted = await shelved(bus, subjects, logs, reader, *names)
    async with hosed(bus, subjects, "a") as firehose:
        firehose.roster.share({"a", "b"})
        await firehose.roster.survey()
        await eventually(lambda: not firehose.roster.behind)
        assert 0 < len(await reader.lines()) < len(names)
        firehose.roster.share({"a"})
        await firehose.roster.survey()
        await eventually(lambda: has(reader, wanted))


async def test_a_damaged_archive_holds_up_no_other_and_is_tried_again(
    bus: Bus, subjects: Subjects, logs: Logs, reader: Downstream
) -> None:
    for session in ("damaged", "unreadable", "well"):
        await logs.commit(session, "one")
    wanted = await shelved(bus, subjects, logs, reader, "damaged", "unreadable", "well")
    entries, parts = Bucket(bus, subjects.named(ARCHIVED)), Parts(bus, subjects)
    entry = await entries.get("damaged", fresh=True)
    assert entry is not None
    copy = decode(entry.value, Placement).copy or ""
    part = await parts.get("damaged", copy, 0)
    assert part is not None
    await bus.store(subjects.archive("damaged", copy, 0), b"rubbish")
    await entries.put("unreadable", b"rubbish")
    async with hosed(bus, subjects, "a") as firehose:
        await firehose.roster.survey()
        await eventually(lambda: has(reader, {("well", "main"): wanted["well", "main"]}))
        await eventually(lambda: firehose.roster.tracks["damaged"].halted)
        await bus.store(subjects.archive("damaged", copy, 0), part)
        await firehose.roster.survey()
        del wanted["unreadable", "main"]
        await eventually(lambda: has(reader, wanted))


async def test_of_an_archived_session_that_was_erased_nothing_is_told(
    broker: Broker, subjects: Subjects, tmp_path: Path
) -> None:
    async with (
        system(broker.url, subjects, tmp_path, services="kernel", erase_settle_s=0.1) as whole,
        downstream(broker.url, subjects) as reader,
    ):
        await ensure_firehose(whole.bus, subjects, events(subjects))
        for name in ("erased", "kept"):
            session = await whole.client.create_session(owner="me", policy=POLICY, session_id=name)
            await session.tick("one")
            await whole.client.archive_session(name)
        firehose = Firehose(whole.bus, subjects, "a")
        await firehose.cursors.begin(Beginning.ALL)
        await firehose.roster.survey()
        assert set(firehose.roster.tracks) == {"erased", "kept"}
        await whole.client.erase("erased", reason="as asked")
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(firehose.press)
            tasks.start_soon(firehose.carry)
            await eventually(lambda: not firehose.roster.behind)
            tasks.cancel_scope.cancel()
        (tombstone,) = await reader.told(subjects.event("erased"))
        assert is_tombstone(decode_record(tombstone.line))
        assert len(await reader.told(subjects.event("kept"))) > 1


async def test_a_firehose_that_begins_with_what_is_new_begins_behind_what_was_archived(
    bus: Bus, subjects: Subjects, logs: Logs, reader: Downstream
) -> None:
    await logs.commit("old", "one")
    await shelved(bus, subjects, logs, reader, "old")
    async with hosed(bus, subjects, "a", beginning=Beginning.NEW) as firehose:
        await firehose.roster.survey()
        assert firehose.roster.behind
        await eventually(lambda: not firehose.roster.behind)
        await firehose.note()
    assert await Bucket(bus, subjects.named(RELAYED)).get("old", fresh=True) is not None
    assert await reader.told() == []


async def _counted(reader: Downstream, wanted: int) -> bool:
    return len(await reader.told()) == wanted
