"""A session that is erased leaves its tombstone, and nothing else, on the server and in its folders."""

import secrets
from collections.abc import AsyncIterator
from pathlib import Path

import anyio
import pytest

import vagus
from tests.kit.command_line import run
from tests.kit.system import System, system
from tests.kit.traces import found
from tests.kit.waiting import eventually
from vagus.contract.commands import EraseSession
from vagus.contract.erasures import Erasure, is_tombstone
from vagus.contract.messages import Role
from vagus.contract.subjects import Subjects
from vagus.contract.subscriptions import Filter
from vagus.runtime.embedded import EmbeddedServer
from vagus.runtime.eraser import Eraser
from vagus.runtime.graves import Graves
from vagus.runtime.jetstream_log import JetStreamLog
from vagus_relay.cursor import Cursor, Cursors, Standing
from vagus_relay.event import EventMessage
from vagus_relay.press import Press

POLICY = vagus.PolicySet(
    allow_capabilities=("*",),
    gate_capabilities=("fs:write:/session/asked/**",),
    max_tool_runtime_secs=30,
    max_events_per_turn=256,
)
PLACES = """
VAGUS_S_patient-7 VAGUS_DEAD VAGUS_SCHEDULES KV_VAGUS_SESSIONS KV_VAGUS_TICKETS OBJ_VAGUS_BLOBS
"""
SECRET = "the-patient-is-" + secrets.token_hex(8)


@pytest.fixture
async def whole(own_broker: EmbeddedServer, tmp_path: Path) -> AsyncIterator[System]:
    given = {"allowed_commands": "*", "erase_settle_s": 0.3}
    async with system(own_broker.url, Subjects(root="vagus"), tmp_path, **given) as running:
        yield running


async def live_through(whole: System, session_id: str, said: str = SECRET) -> vagus.Session:
    """A session with something of itself wherever something can be."""
    client = whole.client
    session = await client.create_session(owner=said, session_id=session_id, policy=POLICY)
    await session.tick(f"remember {said}", tool=write("note.txt", said))
    large = {"command": "python3", "args": ["-c", f"print('{said} ' * 4000)"]}
    await session.tick("much", tool=vagus.ToolCall(tool_name="shell.exec", input=large))
    await session.tick("ask", tool=write("asked/a.txt", said))
    await session.create_branch("b")
    await session.wake(said[:60], cron="0 2 * * *")
    await session.tick(f"later {said}", after=3600)
    for subject in (whole.subjects.gate(session_id), whole.subjects.inbox(Role.COMMAND, session_id)):
        await whole.bus.store(subject, f"garbage of {said}".encode())

    async def dead() -> bool:
        return len(await client.dead_letters(session_id)) == 2

    await eventually(dead)
    return session


def write(path: str, text: str) -> vagus.ToolCall:
    return vagus.ToolCall(tool_name="fs.write", input={"path": path, "content": text})


async def test_nothing_is_left_of_an_erased_session(whole: System) -> None:
    session = await live_through(whole, "patient-7")
    other = await live_through(whole, "patient-70", "somebody-else")
    before = await found(whole.url, SECRET)
    kinds = {hit.split()[0] for hit in before}
    assert kinds >= set(PLACES.split())
    folder = whole.root / "sessions" / "patient-7"
    assert (folder / "note.txt").read_text() == SECRET
    summary = await session.summary()
    tombstone = await whole.client.erase("patient-7", reason="as asked", actor="grace")

    assert await found(whole.url, SECRET) == []
    left = {hit.split()[0] for hit in await found(whole.url, "patient-7")}
    assert left == {"KV_VAGUS_ERASED", "KV_VAGUS_CALLS"}
    assert not folder.exists()
    assert not (whole.root / ".lake" / "patient-7").exists()
    assert (tombstone.session_id, tombstone.actor, tombstone.reason) == ("patient-7", "grace", "as asked")
    assert tombstone.events > sum(branch.head_sequence for branch in summary.branches)
    assert tombstone.digest is not None
    assert tombstone.erased_at is not None
    assert await whole.client.erasures() == [tombstone]
    assert (await other.verify()).ok
    assert (whole.root / "sessions" / "patient-70" / "note.txt").exists()
    assert (await other.tick("still there?", branch="b")).reason == "completed"
    assert len(await whole.client.dead_letters("patient-70")) == 2


async def test_an_erased_id_is_never_used_again(whole: System) -> None:
    session = await whole.client.create_session(owner="ada", session_id="s1", policy=POLICY)
    await session.tick("hello")
    first = await whole.client.erase("s1")
    with pytest.raises(vagus.SessionErased, match="session s1 was erased"):
        await whole.client.create_session(owner="ada", session_id="s1", policy=POLICY)
    with pytest.raises(vagus.SessionErased):
        await whole.client.session("s1")
    with pytest.raises(vagus.SessionErased):
        await session.tick("hello?")
    with pytest.raises(vagus.SessionErased):
        await session.read_events()
    with pytest.raises(vagus.SessionErased):
        async for _ in session.events():
            pass
    with pytest.raises(vagus.SessionErased):
        await session.close("done")
    with pytest.raises(vagus.SessionErased):
        await session.summary()
    assert await whole.client.erase("s1", reason="again") == first
    assert {hit.split()[0] for hit in await found(whole.url, "s1")} == {"KV_VAGUS_ERASED"}
    assert await whole.client.dead_letters("s1") == []


async def test_what_runs_is_ended_first(whole: System) -> None:
    session = await whole.client.create_session(owner="ada", session_id="s1", policy=POLICY)
    slow = vagus.ToolCall(tool_name="shell.exec", input={"command": "sleep", "args": ["60"]})
    ended: list[Exception] = []

    async def tick() -> None:
        try:
            await session.tick("sleep", tool=slow)
        except vagus.VagusError as error:
            ended.append(error)

    async def runs() -> bool:
        return "ToolCallStarted" in [event.kind.type async for event in session.history()]

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(tick)
        await eventually(runs)
        assert (await whole.client.erase("s1")).erased_at is not None
    left = {hit.split()[0] for hit in await found(whole.url, "s1")}
    assert left == {"KV_VAGUS_ERASED", "KV_VAGUS_CALLS"}


async def test_a_session_that_never_was_cannot_be_erased(whole: System) -> None:
    with pytest.raises(vagus.SessionNotFound) as raised:
        await whole.client.erase("nobody")
    assert not isinstance(raised.value, vagus.SessionErased)
    assert await whole.client.erasures() == []


async def test_who_may_not_order_an_erasure_cannot_have_it_carried_out(whole: System) -> None:
    session = await whole.client.create_session(owner="ada", session_id="s1", policy=POLICY)
    command = EraseSession(command_id="e1", session_id="s1", actor="mallory")
    with pytest.raises(vagus.Refused, match="nobody has ordered"):
        await whole.client._dispatch.ask(command, vagus.Erasure)
    assert (await session.tick("hello")).reason == "completed"


async def test_the_firehose_has_a_tombstone_in_place_of_the_events(whole: System) -> None:
    subjects = whole.subjects
    await whole.start("relay")
    session = await whole.client.create_session(owner="ada", session_id="s1", policy=POLICY)
    await session.tick(f"remember {SECRET}")
    seen: list[vagus.EventRecord] = []
    async with whole.client.subscribe(Filter(sessions=("s1",))) as events:
        async for delivery in events:
            seen.append(delivery.event)
            await delivery.ack()
            if len(seen) == 1:
                tombstone = await whole.client.erase("s1", reason="as asked")
            if is_tombstone(seen[-1]):
                break
    assert seen[-1].kind.data == {
        "ordered_at": tombstone.ordered_at, "actor": tombstone.actor, "reason": "as asked"
    }  # fmt: skip
    assert seen[-1].sequence > tombstone.events
    assert await found(whole.url, SECRET) == []
    hits = await found(whole.url, "s1")
    assert [hit.split()[2] for hit in hits if hit.startswith("VAGUS_EVENTS")] == [
        subjects.event("s1", "main", "Custom")
    ]
    assert {hit.split()[0] for hit in hits} == {"KV_VAGUS_ERASED", "VAGUS_EVENTS"}


async def test_a_relay_that_still_has_events_in_hand_is_refused(whole: System) -> None:
    await relayed(whole)
    await whole.client.erase("s1")
    late = [
        EventMessage(
            whole.subjects.event("s1", "main", "Message"), {"Nats-Msg-Id": "late"}, b"{}", Cursor(9, 9)
        )
    ]
    press = Press(whole.bus, whole.subjects)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(press.run)
        for place in (0, 3):
            with pytest.raises(vagus.Conflict):
                await press.store("s1", place, late)
        tasks.cancel_scope.cancel()


async def test_what_three_servers_took_in_the_same_moment_goes_when_it_is_told_again(whole: System) -> None:
    await relayed(whole)
    eraser = Eraser(whole.bus, whole.subjects)
    order = Erasure(session_id="s1", ordered_at="2026-11-23T10:00:00.000Z", actor="ada", reason="", events=20)
    for _ in range(2):
        await eraser.tell(order)
        told = [hit for hit in await found(whole.url, "s1") if hit.startswith("VAGUS_EVENTS")]
        assert [hit.split()[2] for hit in told] == [whole.subjects.event("s1", "main", "Custom")]
        await whole.bus.store(whole.subjects.event("s1", "main", "Message"), b"{}")


async def test_a_relay_that_notes_late_leaves_nothing_of_it(whole: System) -> None:
    await relayed(whole)
    await whole.client.erase("s1")
    cursors = Cursors(whole.bus, whole.subjects, JetStreamLog(whole.bus, whole.subjects))
    await cursors.note("s1", Standing(Cursor(9, 9), 3))
    assert {hit.split()[0] for hit in await found(whole.url, "s1")} == {"KV_VAGUS_ERASED", "VAGUS_EVENTS"}
    await cursors.note("s2", Standing(Cursor(9, 9), 3))
    assert (await cursors.notes()).keys() == {"s2"}


async def relayed(whole: System) -> None:
    """A session that is in the firehose, and no relay any more."""
    relay = await whole.start("relay")
    session = await whole.client.create_session(owner="ada", session_id="s1", policy=POLICY)
    await session.tick("hello")
    await eventually(lambda: published(whole))
    await relay.drain()


async def published(whole: System) -> bool:
    return len([hit for hit in await found(whole.url, "s1") if hit.startswith("VAGUS_EVENTS")]) > 10


async def test_an_archived_session_is_erased_where_it_is(whole: System) -> None:
    session = await whole.client.create_session(owner="ada", session_id="s1", policy=POLICY)
    await session.tick(f"remember {SECRET}")
    await whole.client.archive_session("s1")
    tombstone = await whole.client.erase("s1")
    assert tombstone.events
    assert await found(whole.url, SECRET) == []
    assert {hit.split()[0] for hit in await found(whole.url, "s1")} == {"KV_VAGUS_ERASED"}


async def test_an_erasure_that_ended_between_the_archive_and_its_entry_goes_on(whole: System) -> None:
    session = await whole.client.create_session(owner="ada", session_id="s1", policy=POLICY)
    await session.tick("hello")
    await whole.client.archive_session("s1")
    await whole.services["kernel3"].drain()
    subjects = whole.subjects
    await Graves(whole.bus, subjects).order("s1", actor="grace", reason="as asked")
    await whole.bus.api(f"STREAM.PURGE.{subjects.named('ARCHIVE')}", {"filter": subjects.archive("s1")})
    with pytest.raises(vagus.SessionErased):
        await session.read_events()
    with pytest.raises(vagus.SessionErased), anyio.fail_after(10):
        await anext(session.events())
    await whole.start("kernel", "second")
    tombstone = await whole.client.erase("s1")
    assert (tombstone.actor, tombstone.erased_at is None) == ("grace", False)
    left = {hit.split()[0] for hit in await found(whole.url, "s1")}
    assert left <= {"KV_VAGUS_ERASED", "KV_VAGUS_CALLS"}


async def test_the_command_line_erases(whole: System, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VAGUS_SERVER", whole.url)
    await whole.client.create_session(owner="ada", session_id="s1", policy=POLICY)
    refused = await run("session", "erase", "s1", "--json")
    assert (refused.code, refused.error["type"]) == (2, "UsageError")
    ran = await run("session", "erase", "s1", "--yes", "--reason", "as asked", "--json")
    assert (ran.code, ran.json["session_id"], ran.json["reason"]) == (0, "s1", "as asked")
    again = await run("session", "erase", "s1", "--yes")
    assert "its id is never used again" in again.out
    gone = await run("session", "show", "s1")
    assert (gone.code, gone.err.count("\n")) == (1, 1)
    assert "was erased" in gone.err
