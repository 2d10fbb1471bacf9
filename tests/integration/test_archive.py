"""Archiving a log and bringing it back: what is read stays the same, and the next input restores it."""

from base64 import b64decode
from pathlib import Path
from typing import Any

import pytest

import vagus
from tests.kit.broker import Broker
from tests.kit.command_line import run
from tests.kit.system import System, system
from tests.kit.waiting import eventually
from vagus.contract.archives import Placement
from vagus.contract.messages import decode
from vagus.contract.streams import ARCHIVED
from vagus.contract.subjects import Subjects
from vagus.runtime.bucket import Bucket
from vagus.runtime.bus import Bus

POLICY = vagus.PolicySet(
    allow_capabilities=("*",),
    gate_capabilities=("fs:write:*",),
    max_tool_runtime_secs=20,
    max_events_per_turn=256,
)


async def stored(bus: Bus, stream: str) -> list[tuple[str, bytes, bytes]]:
    """All messages of a stream as the server keeps them: subject, headers, body."""
    state: Any = (await bus.api(f"STREAM.INFO.{stream}"))["state"]
    found = []
    for sequence in range(1, state["last_seq"] + 1):
        message: Any = (await bus.api(f"STREAM.MSG.GET.{stream}", {"seq": sequence}))["message"]
        found.append((message["subject"], b64decode(message["hdrs"]), b64decode(message["data"])))
    return found


async def log_streams(bus: Bus, subjects: Subjects) -> list[str]:
    names: Any = (await bus.api("STREAM.NAMES", {"subject": subjects.all_logs()})).get("streams")
    return list(names or [])


async def placement(bus: Bus, subjects: Subjects, session: str = "s") -> Placement:
    entry = await Bucket(bus, subjects.named(ARCHIVED)).get(session, fresh=True)
    assert entry is not None
    return decode(entry.value, Placement)


async def used(whole: System) -> vagus.Session:
    """A session with two branches."""
    session = await whole.client.create_session(owner="me", policy=POLICY, session_id="s")
    await session.tick("one")
    await session.create_branch("b")
    await session.tick("two", branch="b")
    return session


async def test_an_archived_session_reads_as_before_and_the_next_tick_restores_it(
    broker: Broker, subjects: Subjects, tmp_path: Path
) -> None:
    async with system(broker.url, subjects, tmp_path) as whole:
        session = await used(whole)
        events = [event.record async for event in session.history()]
        before = await stored(whole.bus, subjects.session_stream("s"))

        place = await whole.client.archive_session("s")

        assert place.archived
        assert place.stream_sequence == len(before) + 1
        assert await log_streams(whole.bus, subjects) == []
        assert [event.record async for event in session.history()][:-1] == events
        assert await session.read_events(3, 4) == [e for e in events if e.branch_id == "main"][2:6]
        assert await session.read_events(2, 100, branch="b") == [e for e in events if e.branch_id == "b"][1:]
        assert (await session.verify()).ok
        assert (await session.summary()).tick_count == 2
        (known,) = await whole.client.sessions()
        assert known.archived
        assert (await whole.client.archive_session("s")) == place
        assert await log_streams(whole.bus, subjects) == []

        async with whole.bus.subscribe(subjects.all_feeds()) as feed:
            await session.tick("three")

            assert await log_streams(whole.bus, subjects) == [subjects.session_stream("s", 1)]
            after = await stored(whole.bus, subjects.session_stream("s", 1))
            assert after[: len(before)] == before
            live = await anext(feed)
            assert live.headers["Nats-Sequence"] == str(place.stream_sequence + 1)
        assert (await session.verify()).ok

        async def listed_hot() -> bool:
            return not (await whole.client.sessions())[0].archived

        await eventually(listed_hot)
        assert (await placement(whole.bus, subjects)).generation == 1
        info: Any = await whole.bus.api(f"STREAM.INFO.{subjects.named('ARCHIVE')}")
        assert info["state"]["messages"] == 0


async def test_a_session_that_rests_is_archived_by_itself_if_told_so(
    broker: Broker, subjects: Subjects, tmp_path: Path
) -> None:
    async with system(broker.url, subjects, tmp_path, services="kernel", archive_after=1) as whole:
        session = await whole.client.create_session(owner="me", policy=POLICY, session_id="s")
        await session.tick("one")

        async def archived() -> bool:
            return (await whole.client.sessions())[0].archived

        await eventually(archived)
        assert await log_streams(whole.bus, subjects) == []
        assert (await session.tick("two")).reason == "completed"
        await eventually(archived)
        assert (await session.verify()).ok


async def test_a_session_at_work_is_not_archived(broker: Broker, subjects: Subjects, tmp_path: Path) -> None:
    async with system(broker.url, subjects, tmp_path) as whole:
        session = await whole.client.create_session(owner="me", policy=POLICY, session_id="s")
        write = vagus.ToolCall(tool_name="fs.write", input={"path": "artifacts/a", "content": "x"})
        assert (await session.tick("write", tool=write)).reason == "awaiting_approval"
        with pytest.raises(vagus.Refused, match="approvals pending"):
            await whole.client.archive_session("s")
        with pytest.raises(vagus.SessionNotFound):
            await whole.client.archive_session("nobody")
        assert len(await log_streams(whole.bus, subjects)) == 1


async def test_a_closed_session_is_archived_read_and_brought_back(
    broker: Broker, subjects: Subjects, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with system(broker.url, subjects, tmp_path, services="kernel") as whole:
        monkeypatch.setenv("VAGUS_SERVER", whole.url)
        monkeypatch.setenv("VAGUS_ROOT_SUBJECT", subjects.root)
        session = await whole.client.create_session(owner="me", policy=POLICY, session_id="s")
        await session.close("done")
        head = (await session.summary()).stream_sequence
        place = {"session_id": "s", "archived": True, "stream_sequence": head}
        assert (await run("session", "archive", "s", "--json")).json == place
        assert await log_streams(whole.bus, subjects) == []
        with pytest.raises(vagus.BranchReadOnly):
            await session.tick("more")
        assert (await run("session", "show", "s", "--json")).json["archived"]
        assert "closed, archived" in (await run("session", "list")).out
        assert (await run("verify", "s")).code == 0
        assert await log_streams(whole.bus, subjects) == []
        assert (await run("session", "restore", "s", "--json")).json == place | {"archived": False}
        assert await log_streams(whole.bus, subjects) == [subjects.session_stream("s", 1)]
        assert (await session.verify()).ok
