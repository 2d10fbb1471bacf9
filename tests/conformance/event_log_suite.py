"""What every `EventLog` does. An adapter's test file subclasses `EventLogSuite` and supplies the `rig`."""

from collections.abc import AsyncIterator
from contextlib import aclosing
from typing import Protocol
from uuid import uuid4

import anyio
import pytest

from tests.kit.waiting import eventually
from vagus.contract.codec import Sealed, seal, verify
from vagus.contract.errors import Conflict, Malformed, OutcomeUnknown, Refused, SessionNotFound
from vagus.contract.events import BranchCreated, EventKind, EventRecord, UserMessage
from vagus.contract.limits import MAX_PAYLOAD_BYTES
from vagus.runtime.eventlog import HEADERS_BYTES, At, Commit, EventLog, NoStream
from vagus.runtime.lineage import read_lineage


class Rig(Protocol):
    """A log under test, and what can happen to it."""

    log: EventLog
    rival: EventLog
    """The same log, as another process has it."""
    lost: bool
    """Whether the loss that was asked for has happened."""

    def lose_next_ack(self, *, takes_again: bool = True) -> None:
        """The next commit is stored, its acknowledgement lost, and perhaps the store gone until `mend`."""

    def lose_next_commit(self) -> None:
        """The next commit is lost before it is stored, and the store gone until `mend`."""

    async def mend(self) -> None:
        """The store is there again."""

    async def restart(self) -> None:
        """The store ends without a warning and comes back."""


class Branch:
    """Makes the commits of one branch, chained."""

    def __init__(self, session_id: str = "s", branch_id: str = "main", *, digest: str = "", head: int = 0):
        self.session_id = session_id
        self.branch_id = branch_id
        self.digest = digest
        self.head = head

    def seal(self, *contents: str) -> Sealed:
        """The next commit: a message for each of `contents`."""
        return self.seal_kinds(*(UserMessage(content=content) for content in contents))

    def seal_kinds(self, *kinds: EventKind) -> Sealed:
        """The next commit: an event of each kind."""
        sealed = seal(
            [
                EventRecord(
                    event_id=str(uuid4()),
                    session_id=self.session_id,
                    agent_id="a",
                    branch_id=self.branch_id,
                    sequence=sequence,
                    timestamp="2026-01-01T00:00:00Z",
                    kind=kind,
                )
                for sequence, kind in enumerate(kinds, self.head + 1)
            ],
            self.digest,
        )
        self.digest = sealed.digest
        self.head += len(kinds)
        return sealed

    def fork(self, branch_id: str, parent_events: list[EventRecord], at: int) -> tuple["Branch", Sealed]:
        """A branch that begins at event `at` of this one, and its first commit."""
        digest = parent_events[at - 1].digest if at else ""
        child = Branch(self.session_id, branch_id, digest=digest or "")
        begin = BranchCreated(
            new_branch_id=branch_id, fork_point_seq=at, name=branch_id, from_branch=self.branch_id
        )
        return child, child.seal_kinds(begin)


async def write(log: EventLog, branch: Branch, sizes: list[int], *, at: int = 0) -> int:
    """Commit so many events each; returns the head. Contents are `<branch>-<sequence>`."""
    for size in sizes:
        contents = (f"{branch.branch_id}-{branch.head + offset + 1}" for offset in range(size))
        expected = At(at) if at else NoStream()
        at = await log.commit(branch.session_id, branch.branch_id, branch.seal(*contents), expected)
    return at


async def all_of(commits: AsyncIterator[Commit]) -> list[Commit]:
    return [commit async for commit in commits]


def contents(events: list[EventRecord]) -> list[str]:
    return [event.kind.content for event in events if isinstance(event.kind, UserMessage)]


def events_of(commits: list[Commit]) -> list[EventRecord]:
    return [event for commit in commits for event in commit.records()]


def names(branch: str, first: int, last: int) -> list[str]:
    return [f"{branch}-{sequence}" for sequence in range(first, last + 1)]


class EventLogSuite:
    """The contract of `EventLog`, as tests."""

    @pytest.fixture
    async def log(self, rig: Rig) -> EventLog:
        await rig.log.create("s")
        return rig.log

    # Creating ---------------------------------------------------------------------------------------------

    async def test_a_new_log_is_empty(self, log: EventLog) -> None:
        assert await log.head("s") == 0
        assert await all_of(log.commits("s")) == []
        assert await log.read("s", "main") == []

    async def test_creating_a_log_again_keeps_what_it_holds(self, log: EventLog) -> None:
        await write(log, Branch(), [2])
        await log.create("s")
        assert await log.head("s") == 1
        assert contents(await log.read("s", "main")) == names("main", 1, 2)

    async def test_logs_of_two_sessions_are_apart(self, log: EventLog) -> None:
        await log.create("t")
        assert await write(log, Branch("s"), [1, 1]) == 2
        assert await write(log, Branch("t"), [1]) == 1
        assert [event.session_id for event in await log.read("t", "main")] == ["t"]

    async def test_a_session_without_a_log_is_not_found(self, rig: Rig) -> None:
        log, nobody = rig.log, Branch("nobody")
        with pytest.raises(SessionNotFound, match="nobody"):
            await log.commit("nobody", "main", nobody.seal("x"), NoStream())
        with pytest.raises(SessionNotFound, match="nobody"):
            await log.head("nobody")
        with pytest.raises(SessionNotFound, match="nobody"):
            await log.read("nobody", "main")
        with pytest.raises(SessionNotFound, match="nobody"):
            await log.read("nobody", "main", from_sequence=5)
        with pytest.raises(SessionNotFound, match="nobody"):
            await all_of(log.commits("nobody"))
        with pytest.raises(SessionNotFound, match="nobody"):
            await all_of(log.follow("nobody"))

    # Committing -------------------------------------------------------------------------------------------

    async def test_commits_are_numbered_from_one(self, log: EventLog) -> None:
        branch = Branch()
        assert await log.commit("s", "main", branch.seal("a", "b"), NoStream()) == 1
        assert await log.commit("s", "main", branch.seal("c"), At(1), traceparent="00-1-2-01") == 2
        assert await log.head("s") == 2

    async def test_a_commit_is_stored_as_it_was_sealed(self, log: EventLog) -> None:
        sealed = Branch().seal("a", "ü\n\\", "c" * 1000)
        await log.commit("s", "main", sealed, NoStream())
        (commit,) = await all_of(log.commits("s"))
        assert (commit.session_id, commit.branch_id, commit.stream_sequence) == ("s", "main", 1)
        assert (commit.first, commit.last) == (1, 3)
        assert commit.payload == sealed.payload
        assert tuple(commit.lines()) == sealed.lines
        assert tuple(commit.records()) == sealed.records
        assert commit.stored_at.endswith("Z")

    @pytest.mark.parametrize("expected", [NoStream(), At(1), At(3), At(4000)])
    async def test_a_commit_that_expects_another_state_is_a_conflict(
        self, log: EventLog, expected: NoStream | At
    ) -> None:
        branch = Branch()
        await write(log, branch, [3, 3])
        with pytest.raises(Conflict):
            await log.commit("s", "main", branch.seal("stale", "and", "more", "of", "it"), expected)
        assert await log.head("s") == 2
        assert contents(await log.read("s", "main")) == names("main", 1, 6)

    async def test_an_empty_log_is_not_at_one(self, log: EventLog) -> None:
        with pytest.raises(Conflict):
            await log.commit("s", "main", Branch().seal("a"), At(1))
        assert await log.head("s") == 0

    async def test_of_two_writers_exactly_one_wins(self, rig: Rig, log: EventLog) -> None:
        winners: list[list[str]] = []

        async def contend(writer: EventLog, name: str, expected: NoStream | At, wins: list[str]) -> None:
            try:
                await writer.commit("s", name, Branch("s", name).seal(name), expected)
            except Conflict:
                return
            wins.append(name)

        for turn in range(10):
            wins: list[str] = []
            expected = At(turn) if turn else NoStream()
            async with anyio.create_task_group() as group:
                group.start_soon(contend, log, "ours", expected, wins)
                group.start_soon(contend, rig.rival, "theirs", expected, wins)
            winners.append(wins)
        assert [len(wins) for wins in winners] == [1] * 10
        assert [[c.branch_id] for c in await all_of(log.commits("s"))] == winners

    # Lost acknowledgements --------------------------------------------------------------------------------

    async def test_repeating_a_commit_returns_its_sequence_and_stores_nothing(
        self, rig: Rig, log: EventLog
    ) -> None:
        branch = Branch()
        sealed = branch.seal("a", "b")
        assert await log.commit("s", "main", sealed, NoStream()) == 1
        assert await log.commit("s", "main", sealed, NoStream()) == 1
        await write(log, branch, [1, 1], at=1)
        assert await log.commit("s", "main", sealed, NoStream()) == 1
        assert await rig.rival.commit("s", "main", sealed, NoStream()) == 1
        assert await log.head("s") == 3

    async def test_the_same_ids_in_other_bytes_are_another_commit(self, log: EventLog) -> None:
        sealed = Branch().seal("a")
        decided_again = seal([*sealed.records], "blake3:another")
        await log.commit("s", "main", sealed, NoStream())
        with pytest.raises(Conflict):
            await log.commit("s", "main", decided_again, NoStream())
        with pytest.raises(Conflict):
            await log.commit("s", "main", decided_again, At(1))

    async def test_the_same_bytes_on_another_branch_are_another_commit(self, log: EventLog) -> None:
        sealed = Branch().seal("a")
        await log.commit("s", "main", sealed, NoStream())
        with pytest.raises(Conflict):
            await log.commit("s", "b", sealed, NoStream())

    async def test_a_commit_whose_ack_was_lost_is_on_the_log_once(self, rig: Rig, log: EventLog) -> None:
        branch = Branch()
        await write(log, branch, [1])
        sealed = branch.seal("b", "c")
        rig.lose_next_ack()
        try:
            assert await log.commit("s", "main", sealed, At(1)) == 2
        except OutcomeUnknown:
            assert await log.commit("s", "main", sealed, At(1)) == 2
        assert rig.lost
        assert await write(log, branch, [1], at=2) == 3
        assert contents(await log.read("s", "main")) == ["main-1", "b", "c", "main-4"]

    async def test_a_commit_that_cannot_be_settled_is_unknown_until_it_is_repeated(
        self, rig: Rig, log: EventLog
    ) -> None:
        sealed = Branch().seal("a")
        rig.lose_next_ack(takes_again=False)
        with pytest.raises(OutcomeUnknown):
            await log.commit("s", "main", sealed, NoStream())
        await rig.mend()
        assert await log.commit("s", "main", sealed, NoStream()) == 1
        assert await log.head("s") == 1

    async def test_a_lost_commit_is_a_conflict_when_another_took_its_place(
        self, rig: Rig, log: EventLog
    ) -> None:
        others_is_stored = anyio.Event()

        async def lose() -> None:
            ours = Branch("s", "ours").seal("a")
            try:
                await log.commit("s", "ours", ours, NoStream())
            except OutcomeUnknown:
                await others_is_stored.wait()
                with pytest.raises(Conflict):
                    await log.commit("s", "ours", ours, NoStream())
            except Conflict:
                await others_is_stored.wait()
            else:
                pytest.fail("both were stored")

        rig.lose_next_commit()
        async with anyio.create_task_group() as group:
            group.start_soon(lose)
            await eventually(lambda: rig.lost)
            assert await rig.rival.commit("s", "theirs", Branch("s", "theirs").seal("b"), NoStream()) == 1
            others_is_stored.set()
            await rig.mend()
        assert [commit.branch_id for commit in await all_of(log.commits("s"))] == ["theirs"]

    # Commits that are too long for one message ------------------------------------------------------------

    @pytest.fixture
    def long(self) -> list[str]:
        """Contents of a commit of four messages' length, with short and long ones mixed."""
        return [str(n) + "x" * (10 if n % 3 else MAX_PAYLOAD_BYTES // 3) for n in range(30)]

    async def test_a_long_commit_is_stored_whole(self, log: EventLog, long: list[str]) -> None:
        branch = Branch()
        await write(log, branch, [1])
        sealed = branch.seal(*long)
        assert len(sealed.payload) > 3 * MAX_PAYLOAD_BYTES
        head = await log.commit("s", "main", sealed, At(1))
        assert head > 4
        assert await log.head("s") == head
        parts = await all_of(log.commits("s", after=1))
        assert all(len(part.payload) < MAX_PAYLOAD_BYTES for part in parts)
        assert b"".join(part.payload for part in parts) == sealed.payload
        assert [(part.first, part.last) for part in parts] == [
            (part.records()[0].sequence, part.records()[-1].sequence) for part in parts
        ]
        assert contents(await log.read("s", "main", from_sequence=2)) == long
        assert await write(log, branch, [1], at=head) == head + 1

    async def test_a_long_commit_that_is_stale_is_refused_whole(self, log: EventLog, long: list[str]) -> None:
        branch = Branch()
        await write(log, branch, [1, 1, 1])
        for expected in (NoStream(), At(1), At(2), At(5)):
            with pytest.raises(Conflict):
                await log.commit("s", "main", branch.seal(*long), expected)
        assert await log.head("s") == 3

    async def test_a_long_commit_can_be_repeated(self, rig: Rig, log: EventLog, long: list[str]) -> None:
        branch = Branch()
        sealed = branch.seal(*long)
        head = await log.commit("s", "main", sealed, NoStream())
        assert await log.commit("s", "main", sealed, NoStream()) == head
        assert await rig.rival.commit("s", "main", sealed, NoStream()) == head
        await write(log, branch, [1], at=head)
        assert await log.commit("s", "main", sealed, NoStream()) == head
        assert await log.head("s") == head + 1

    async def test_a_long_commit_whose_ack_was_lost_is_on_the_log_once(
        self, rig: Rig, log: EventLog, long: list[str]
    ) -> None:
        branch = Branch()
        sealed = branch.seal(*long)
        rig.lose_next_ack()
        try:
            head = await log.commit("s", "main", sealed, NoStream())
        except OutcomeUnknown:
            head = await log.commit("s", "main", sealed, NoStream())
        assert rig.lost
        assert await log.head("s") == head
        assert contents(await log.read("s", "main")) == long

    async def test_an_event_may_fill_a_message_and_a_longer_one_is_refused(self, log: EventLog) -> None:
        longest = MAX_PAYLOAD_BYTES - HEADERS_BYTES - len(Branch().seal("").payload)
        for others in ([], ["a"] * 3):
            with pytest.raises(Refused, match=r"^UserMessage of \d+ bytes is over the limit of \d+ for one"):
                await log.commit(
                    "s", "main", Branch().seal(*others, "x" * (longest + 1), *others), NoStream()
                )
        assert await log.head("s") == 0
        assert await log.commit("s", "main", Branch().seal("a", "x" * longest, "b"), NoStream()) == 3

    # Reading commits --------------------------------------------------------------------------------------

    async def test_commits_of_all_branches_come_in_order(self, log: EventLog) -> None:
        await interleaved(log, rounds=3)
        commits = await all_of(log.commits("s"))
        assert [commit.stream_sequence for commit in commits] == list(range(1, 13))
        assert [commit.branch_id for commit in commits] == ["main", "b", "main", "c"] * 3

    @pytest.mark.parametrize(
        ("after", "until", "found"),
        [
            (0, None, [1, 2, 3, 4, 5]),
            (2, None, [3, 4, 5]),
            (0, 3, [1, 2, 3]),
            (1, 4, [2, 3, 4]),
            (4, 5, [5]),
            (3, 90, [4, 5]),
            (5, None, []),
            (3, 3, []),
            (3, 1, []),
            (90, None, []),
            (0, 0, []),
        ],
    )
    async def test_commits_come_after_and_until(
        self, log: EventLog, after: int, until: int | None, found: list[int]
    ) -> None:
        await write(log, Branch(), [1, 2, 1, 2, 1])
        commits = await all_of(log.commits("s", after=after, until=until))
        assert [commit.stream_sequence for commit in commits] == found

    async def test_more_commits_than_a_page_are_all_read(self, log: EventLog) -> None:
        await write(log, Branch(), [1] * 300)
        commits = await all_of(log.commits("s", after=10))
        assert [commit.stream_sequence for commit in commits] == list(range(11, 301))
        assert contents(await log.read("s", "main", limit=1000)) == names("main", 1, 300)

    async def test_reading_commits_can_be_left_early(self, log: EventLog) -> None:
        await write(log, Branch(), [1] * 5)
        async with aclosing(log.commits("s")) as commits:
            async for commit in commits:
                if commit.stream_sequence == 2:
                    break
        assert await log.head("s") == 5

    async def test_digests_bind_the_commits_of_a_branch(self, log: EventLog) -> None:
        await interleaved(log, rounds=4)
        for branch in ("main", "b", "c"):
            commits = await all_of(log.commits("s"))
            lines = [line for commit in commits if commit.branch_id == branch for line in commit.lines()]
            verify(lines, "")
            with pytest.raises(Malformed):
                verify(lines[:1] + lines[2:], "")

    # Reading a branch -------------------------------------------------------------------------------------

    async def test_a_branch_is_read_from_any_sequence(self, log: EventLog) -> None:
        lengths = await interleaved(log, rounds=5)
        for branch, length in lengths.items():
            for first in range(1, length + 1):
                events = await log.read("s", branch, from_sequence=first)
                assert contents(events) == names(branch, first, length)
                assert [event.branch_id for event in events] == [branch] * len(events)

    @pytest.mark.parametrize(
        ("from_sequence", "limit", "first", "last"),
        [
            (1, 1, 1, 1),
            (1, 3, 1, 3),
            (1, 4, 1, 4),
            (2, 1, 2, 2),
            (3, 2, 3, 4),
            (4, 100, 4, 9),
            (9, 1, 9, 9),
            (9, 200, 9, 9),
            (1, 9, 1, 9),
            (0, 2, 1, 2),
            (-5, 2, 1, 2),
            (10, 5, 1, 0),
            (1000, 5, 1, 0),
            (1, 0, 1, 0),
            (4, 0, 1, 0),
            (1, -1, 1, 0),
        ],
    )
    async def test_a_branch_is_read_up_to_a_limit(
        self, log: EventLog, from_sequence: int, limit: int, first: int, last: int
    ) -> None:
        await write(log, Branch(), [3, 3, 3])
        events = await log.read("s", "main", from_sequence=from_sequence, limit=limit)
        assert contents(events) == names("main", first, last)

    async def test_an_unknown_branch_has_no_events(self, log: EventLog) -> None:
        await write(log, Branch(), [3])
        assert await log.read("s", "other") == []
        assert await log.read("s", "other", from_sequence=2) == []

    # Following --------------------------------------------------------------------------------------------

    async def test_a_follower_sees_what_was_and_what_comes(self, rig: Rig, log: EventLog) -> None:
        branch = Branch()
        await write(log, branch, [2, 2])
        async with aclosing(log.follow("s")) as commits:
            assert [(await anext(commits)).stream_sequence for _ in range(2)] == [1, 2]
            await write(rig.rival, branch, [1], at=2)
            commit = await anext(commits)
        assert (commit.stream_sequence, commit.branch_id, commit.first, commit.last) == (3, "main", 5, 5)
        assert contents(commit.records()) == ["main-5"]
        (stored,) = await all_of(log.commits("s", after=2))
        assert commit == stored

    async def test_a_follower_misses_nothing_while_a_writer_writes(self, rig: Rig, log: EventLog) -> None:
        branch, last = Branch(), 150
        await write(log, branch, [1] * 50)
        seen: dict[int, list[int]] = {}

        async def follow(after: int) -> None:
            async with aclosing(log.follow("s", after=after)) as commits:
                async for commit in commits:
                    seen.setdefault(after, []).append(commit.stream_sequence)
                    if commit.stream_sequence == last:
                        return

        with anyio.fail_after(20):
            async with anyio.create_task_group() as group:
                for after in (0, 20, 50, 100):
                    group.start_soon(follow, after)
                await write(rig.rival, branch, [1] * 100, at=50)
        assert seen == {after: list(range(after + 1, last + 1)) for after in (0, 20, 50, 100)}

    async def test_a_follower_of_one_branch_sees_only_that(self, log: EventLog) -> None:
        await interleaved(log, rounds=3)
        async with aclosing(log.follow("s", branch_id="b")) as commits:
            found = [await anext(commits) for _ in range(3)]
        assert [commit.stream_sequence for commit in found] == [2, 6, 10]
        assert contents(events_of(found)) == names("b", 1, 6)

    async def test_a_follower_resumes_after_its_cursor(self, log: EventLog) -> None:
        branch = Branch()
        await write(log, branch, [1] * 6)
        seen: list[int] = []
        for _ in range(3):
            async with aclosing(log.follow("s", after=seen[-1] if seen else 0)) as commits:
                seen += [(await anext(commits)).stream_sequence for _ in range(2)]
        assert seen == [1, 2, 3, 4, 5, 6]

    async def test_a_follower_may_wait_for_what_is_far_ahead(self, log: EventLog) -> None:
        branch = Branch()
        async with aclosing(log.follow("s", after=2)) as commits, anyio.create_task_group() as group:
            group.start_soon(write, log, branch, [1, 1, 1])
            assert (await anext(commits)).stream_sequence == 3

    async def test_a_follower_outlives_a_restart_of_the_store(self, rig: Rig, log: EventLog) -> None:
        branch = Branch()
        await write(log, branch, [1, 1])
        async with aclosing(log.follow("s")) as commits:
            seen = [(await anext(commits)).stream_sequence]
            await rig.restart()
            await write(rig.rival, branch, [1, 1], at=2)
            with anyio.fail_after(20):
                while seen[-1] < 4:
                    seen.append((await anext(commits)).stream_sequence)
        assert seen == [1, 2, 3, 4]

    async def test_what_was_committed_outlives_a_restart_of_the_store(self, rig: Rig, log: EventLog) -> None:
        branch = Branch()
        await write(log, branch, [2, 2])
        before = await all_of(log.commits("s"))
        await rig.restart()
        assert await all_of(log.commits("s")) == before
        assert await write(log, branch, [1], at=2) == 3

    # Lineage ----------------------------------------------------------------------------------------------

    async def test_a_lineage_leads_from_the_root_through_every_fork(self, log: EventLog) -> None:
        main = Branch()
        at = await write(log, main, [3, 3])
        b, begin_b = main.fork("b", await log.read("s", "main"), at=4)
        at = await log.commit("s", "b", begin_b, At(at))
        at = await write(log, b, [2, 2], at=at)
        at = await write(log, main, [1], at=at)
        c, begin_c = b.fork("c", await log.read("s", "b"), at=3)
        at = await log.commit("s", "c", begin_c, At(at))
        await write(log, c, [2], at=at)

        whole = await read_lineage(log, "s", "c")
        assert [(event.branch_id, event.sequence) for event in whole] == [
            *(("main", sequence) for sequence in range(1, 5)),
            *(("b", sequence) for sequence in range(1, 4)),
            *(("c", sequence) for sequence in range(1, 4)),
        ]
        commits = await all_of(log.commits("s"))
        lines = [line for commit in commits for line in commit.lines()]
        line_of = dict(zip([event.event_id for event in events_of(commits)], lines, strict=True))
        verify([line_of[event.event_id] for event in whole], "")

        for limit in range(12):
            assert await read_lineage(log, "s", "c", limit=limit) == whole[:limit]
        assert await read_lineage(log, "s", "c", from_sequence=2) == whole[-2:]
        assert await read_lineage(log, "s", "main") == await log.read("s", "main")
        assert await read_lineage(log, "s", "other") == []

    async def test_a_fork_at_zero_inherits_nothing(self, log: EventLog) -> None:
        main = Branch()
        await write(log, main, [3])
        b, begin = main.fork("b", [], at=0)
        await log.commit("s", "b", begin, At(1))
        await write(log, b, [1], at=2)
        assert [event.branch_id for event in await read_lineage(log, "s", "b")] == ["b", "b"]

    async def test_branches_that_descend_from_each_other_are_malformed(self, log: EventLog) -> None:
        parent = list(Branch().seal("x").records)
        _, begin_b = Branch("s", "c").fork("b", parent, at=1)
        _, begin_c = Branch("s", "b").fork("c", parent, at=1)
        await log.commit("s", "b", begin_b, NoStream())
        await log.commit("s", "c", begin_c, At(1))
        with pytest.raises(Malformed, match="descends from itself"):
            await read_lineage(log, "s", "b")


async def interleaved(log: EventLog, *, rounds: int) -> dict[str, int]:
    """Commits of three branches by turns, of different sizes; returns how many events each has."""
    main, b, c = Branch(), Branch("s", "b"), Branch("s", "c")
    at = 0
    for turn in range(rounds):
        for branch, size in ((main, 3), (b, 2), (main, 1), (c, 1 + turn)):
            at = await write(log, branch, [size], at=at)
    return {branch.branch_id: branch.head for branch in (main, b, c)}
