"""Moving logs step by step: who is first, who comes late, what is damaged."""

from collections.abc import AsyncIterator
from contextlib import aclosing

import anyio
import pytest

from tests.conformance.event_log_suite import Branch, all_of, contents, events_of, names, write
from tests.integration.test_archive import log_streams, placement, stored
from vagus.contract.archives import PART_BYTES, Placement
from vagus.contract.errors import Conflict, Malformed
from vagus.contract.extensions import LogCopied
from vagus.contract.streams import ARCHIVED, BucketSpec, archive
from vagus.contract.subjects import Subjects
from vagus.runtime.archive.hot import HotStreams
from vagus.runtime.archive.keeper import Keeper
from vagus.runtime.archive.parts import Parts
from vagus.runtime.archive.placements import Found
from vagus.runtime.bus import Bus
from vagus.runtime.eventlog import At
from vagus.runtime.jetstream_log import JetStreamLog
from vagus.runtime.provision import ensure_bucket, ensure_stream


class Shelf:
    """A log of some commits, and what moves it."""

    def __init__(self, bus: Bus, subjects: Subjects, *, replicas: int = 1) -> None:
        self.bus, self.subjects = bus, subjects
        self.log = JetStreamLog(bus, subjects, direct=True, replicas=replicas)
        self.rival = JetStreamLog(bus, subjects)
        self.keeper = Keeper(bus, subjects, replicas=replicas)
        self.streams = HotStreams(bus, subjects, replicas)
        self.main = Branch()
        self.head = 0

    async def fill(self, replicas: int = 1) -> None:
        await ensure_stream(self.bus, archive(self.subjects), replicas)
        await ensure_bucket(self.bus, BucketSpec(name=self.subjects.named(ARCHIVED)), replicas)
        await self.log.create("s")
        self.head = await write(self.log, self.main, [1, 3, 2])
        long = self.main.seal(*(f"{number}" * 300_000 for number in range(5)))  # five messages
        self.head = await self.log.commit("s", "main", long, At(self.head))
        child, begin = self.main.fork("b", await self.log.read("s", "main"), 2)
        self.head = await self.log.commit("s", "b", begin, At(self.head))
        self.head = await write(self.log, child, [2, 1], at=self.head)

    async def mark(self, found: Found) -> None:
        """What the kernel does: it commits the mark."""
        mark = self.main.seal_kinds(LogCopied(copy=found.placement.copy or "").event())
        self.head = await self.log.commit("s", "main", mark, At(self.head))

    async def archived(self) -> Placement:
        begun = await self.keeper.begin("s")
        await self.mark(begun)
        return await self.keeper.archive("s", begun, self.head)

    async def say(self, *words: str) -> None:
        self.head = await self.log.commit("s", "main", self.main.seal(*words), At(self.head))

    async def parts(self) -> int:
        info = await self.bus.api(f"STREAM.INFO.{self.subjects.named('ARCHIVE')}")
        state = info["state"]
        assert isinstance(state, dict)
        return int(state["messages"])


@pytest.fixture
async def shelf(bus: Bus, subjects: Subjects) -> Shelf:
    made = Shelf(bus, subjects)
    await made.fill()
    return made


async def test_a_log_comes_back_byte_for_byte(shelf: Shelf) -> None:
    subjects = shelf.subjects
    before = await stored(shelf.bus, subjects.session_stream("s"))
    place = await shelf.archived()
    assert len(place.starts) > 1  # it is longer than one part
    assert sum(len(body) for _, _, body in before) > PART_BYTES
    commits = await all_of(shelf.log.commits("s"))
    await shelf.keeper.restore("s")
    after = await stored(shelf.bus, subjects.session_stream("s", 1))
    assert after[:-1] == before
    assert [(c.stream_sequence, c.payload) for c in await all_of(shelf.rival.commits("s"))] == [
        (c.stream_sequence, c.payload) for c in commits
    ]
    assert await shelf.parts() == 0


async def test_an_archived_log_is_read_from_any_place(shelf: Shelf) -> None:
    whole = await all_of(shelf.log.commits("s"))
    await shelf.archived()
    for log in (shelf.log, shelf.rival):
        assert (await all_of(log.commits("s")))[:-1] == whole
        for after in range(len(whole)):
            found = await all_of(log.commits("s", after=after, until=after + 2))
            assert found == whole[after : after + 2] or after + 2 > len(whole)
        assert contents(await log.read("s", "b", from_sequence=2)) == names("b", 2, 4)
        assert [event.sequence for event in await log.read("s", "main", from_sequence=9, limit=2)] == [9, 10]
        assert await log.read("s", "nowhere") == []
        assert await log.head("s") == shelf.head


async def test_who_follows_goes_on_when_the_log_is_restored(shelf: Shelf) -> None:
    async with aclosing(shelf.rival.follow("s")) as commits:
        heard = [(await anext(commits)).stream_sequence]
        await shelf.archived()
        await shelf.keeper.writable("s")
        await shelf.say("more")
        with anyio.fail_after(30):
            heard += [(await anext(commits)).stream_sequence for _ in range(1, shelf.head)]
    assert heard == list(range(1, shelf.head + 1))


async def test_who_writes_while_a_log_is_copied_keeps_it(shelf: Shelf) -> None:
    begun = await shelf.keeper.begin("s")
    await shelf.mark(begun)
    marked = shelf.head
    await Keeper(shelf.bus, shelf.subjects).writable("s")
    await shelf.say("first")
    with pytest.raises(Conflict):
        await shelf.keeper.archive("s", begun, marked)
    assert await log_streams(shelf.bus, shelf.subjects) == [shelf.subjects.session_stream("s")]
    assert contents(events_of(await all_of(shelf.log.commits("s"))))[-1] == "first"
    assert await shelf.parts() == 0


async def test_who_has_not_read_the_mark_cannot_write(shelf: Shelf) -> None:
    before, stale = shelf.head, Branch(digest=shelf.main.digest, head=shelf.main.head)
    await shelf.archived()
    with pytest.raises(Conflict):
        await shelf.log.commit("s", "main", stale.seal("late"), At(before))
    await shelf.keeper.writable("s")
    with pytest.raises(Conflict):
        await shelf.log.commit("s", "main", stale.seal("late"), At(before))
    assert await shelf.log.head("s") == shelf.head


async def test_a_removal_that_comes_late_meets_nothing(shelf: Shelf) -> None:
    place = await shelf.archived()
    await shelf.keeper.writable("s")
    await shelf.say("after")
    for generation in range(place.claimed + 1):
        await shelf.streams.remove("s", generation)
    assert contents(events_of(await all_of(shelf.log.commits("s"))))[-1] == "after"
    assert await shelf.log.head("s") == shelf.head


async def test_of_two_that_restore_one_is_the_log(shelf: Shelf, monkeypatch: pytest.MonkeyPatch) -> None:
    await shelf.archived()
    late = Keeper(shelf.bus, shelf.subjects)
    filled, go_on = anyio.Event(), anyio.Event()
    whole = HotStreams.ends_with

    async def slow(streams: HotStreams, *given: object) -> bool:
        if given[1] == 1:  # the first one stands still when it has filled its stream
            filled.set()
            await go_on.wait()
        return await whole(streams, *given)  # type: ignore[arg-type]

    monkeypatch.setattr(HotStreams, "ends_with", slow)

    async def restore_late() -> None:
        with pytest.raises(Conflict):
            await late.writable("s")

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(restore_late)
        await filled.wait()
        await shelf.keeper.writable("s")
        await shelf.say("after")
        go_on.set()
    assert await log_streams(shelf.bus, shelf.subjects) == [shelf.subjects.session_stream("s", 2)]
    assert contents(events_of(await all_of(shelf.log.commits("s"))))[-1] == "after"


async def test_a_log_is_archived_and_restored_again_and_again(shelf: Shelf) -> None:
    for round_ in range(1, 4):
        place = await shelf.archived()
        assert place.generation == round_ - 1
        await shelf.keeper.writable("s")
        await shelf.say(f"round {round_}")
        assert (await placement(shelf.bus, shelf.subjects)).generation == round_
    commits = await all_of(JetStreamLog(shelf.bus, shelf.subjects).commits("s"))
    assert [commit.stream_sequence for commit in commits] == list(range(1, shelf.head + 1))


async def test_a_damaged_copy_is_not_restored_and_stays(shelf: Shelf) -> None:
    place = await shelf.archived()
    parts = Parts(shelf.bus, shelf.subjects)
    subject = shelf.subjects.archive("s", place.copy or "", 1)
    other = await parts.get("s", place.copy or "", 0)
    assert other is not None
    await shelf.bus.store(subject, other)
    with pytest.raises(Malformed, match="part 1"):
        await shelf.keeper.restore("s")
    assert await shelf.keeper.is_archived("s")
    assert await log_streams(shelf.bus, shelf.subjects) == []


async def test_a_log_that_is_damaged_is_not_archived(shelf: Shelf, monkeypatch: pytest.MonkeyPatch) -> None:
    messages = HotStreams.messages

    async def damaged(streams: HotStreams, session_id: str, generation: int) -> AsyncIterator[object]:
        async for kept in messages(streams, session_id, generation):
            if kept.stream_sequence == 2:
                kept = type(kept)(
                    stream_sequence=2,
                    branch_id=kept.branch_id,
                    stored_at=kept.stored_at,
                    headers=kept.headers,
                    payload=kept.payload.replace("main-2", "main-X"),
                )
            yield kept

    monkeypatch.setattr(HotStreams, "messages", damaged)
    with pytest.raises(Malformed, match="is not as it was written"):
        await shelf.archived()
    assert not await shelf.keeper.is_archived("s")
    assert await shelf.log.head("s") == shelf.head


async def test_an_archive_whose_acknowledgement_was_lost_is_kept(shelf: Shelf) -> None:
    begun = await shelf.keeper.begin("s")
    await shelf.mark(begun)
    await shelf.keeper.archive("s", begun, shelf.head)
    with pytest.raises(Conflict):
        await shelf.keeper.archive("s", begun, shelf.head)
    assert len(await all_of(shelf.log.commits("s"))) == shelf.head
    assert await shelf.keeper.is_archived("s")


async def test_tidying_leaves_a_restore_alone(shelf: Shelf, monkeypatch: pytest.MonkeyPatch) -> None:
    await shelf.archived()
    whole = HotStreams.ends_with

    async def tidied(streams: HotStreams, *given: object) -> bool:
        assert await Keeper(shelf.bus, shelf.subjects).tidy("s")
        return await whole(streams, *given)  # type: ignore[arg-type]

    monkeypatch.setattr(HotStreams, "ends_with", tidied)
    await shelf.keeper.writable("s")
    await shelf.say("after")
    assert await shelf.keeper.tidy("s") is None
    assert await shelf.log.head("s") == shelf.head
