"""All that is on a server, saved while everything runs, goes on on another server."""

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from pathlib import Path

import anyio
import msgspec
import pytest

import vagus
from tests.kit.audit import RICH, ended_ticks
from tests.kit.command_line import run
from tests.kit.load import ASKING
from tests.kit.services import stored, wait_until_empty
from tests.kit.system import System, system
from tests.kit.waiting import eventually
from vagus.contract.commands import Schedule
from vagus.contract.messages import Role
from vagus.contract.schedules import NewSchedule, Timing
from vagus.contract.sessions import TickInput
from vagus.contract.subjects import Subjects
from vagus.runtime import transfer
from vagus.runtime.bus import Bus, Message, connect
from vagus.runtime.embedded import EmbeddedServer
from vagus.runtime.provision import ensure
from vagus.runtime.transfer import StreamState, Transfer, names
from vagus.sdk.backup import Backups, untold
from vagus.sdk.client import Client
from vagus_kernel.calendar import Calendar
from vagus_kernel.mover import moving

FREE = vagus.PolicySet.preset("pro")
PAY = vagus.ToolCall(tool_name="fs.write", input={"path": "paid", "content": "yes"})
PATIENCE_S = 60.0


@pytest.fixture
async def other(tmp_path: Path) -> AsyncIterator[EmbeddedServer]:
    async with EmbeddedServer(tmp_path / "other", durability="fast") as server:
        yield server


@pytest.fixture
async def saved(broker: EmbeddedServer, subjects: Subjects, tmp_path: Path) -> Path:
    """A small backup."""
    folder = tmp_path / "backup"
    async with (
        system(broker.url, subjects, tmp_path) as whole,
        vagus.connect(broker.url, root_subject=subjects.root) as client,
    ):
        session = await whole.client.create_session(owner="me", policy=FREE, session_id="s")
        await session.tick("hello")
        await client.backup(folder)
    return folder


class Busy:
    """Sessions that tick without a pause."""

    def __init__(self, whole: System) -> None:
        self.whole = whole
        self.ended: dict[str, set[str]] = {}
        self.stopping = False

    async def run(self, session_id: str) -> None:
        session = await self.whole.client.create_session(
            owner="me", policy=FREE, budget=RICH, session_id=session_id
        )
        ended = self.ended[session_id] = set()
        while not self.stopping:
            command_id = f"{session_id}-{len(ended)}"
            call = vagus.ToolCall(tool_name="fs.write", input={"path": "f", "content": command_id})
            await session.tick(command_id, tool=call, command_id=command_id, timeout_s=PATIENCE_S)
            ended.add(command_id)


async def test_what_was_in_progress_goes_on_on_another_server(
    broker: EmbeddedServer, other: EmbeddedServer, subjects: Subjects, tmp_path: Path
) -> None:
    folder = tmp_path / "backup"
    before: dict[str, set[str]] = {}
    async with system(broker.url, subjects, tmp_path) as whole:
        asking = await whole.client.create_session(owner="me", policy=ASKING, session_id="asking")
        await asking.tick("pay", tool=PAY)
        later = await whole.client.create_session(owner="me", policy=FREE, session_id="later")
        await later.tick("in an hour", after=3600)
        busy = Busy(whole)
        async with anyio.create_task_group() as tasks:
            for name in ("one", "two", "three"):
                tasks.start_soon(busy.run, name)
            await eventually(lambda: sum(map(len, busy.ended.values())) > 8, timeout_s=PATIENCE_S)
            before |= {name: set(ended) for name, ended in busy.ended.items()}
            await whole.client.backup(folder)
            busy.stopping = True

    async with vagus.connect(other.url, root_subject=subjects.root) as client:
        await client.restore_backup(folder)
    (tmp_path / "new").mkdir()
    async with system(
        other.url,
        subjects,
        tmp_path / "new",
        root=whole.root,  # workspaces and the gate's key are files: not in a backup
        grant_seed_file=whole.environ["VAGUS_GRANT_SEED_FILE"],
        grant_public_keys=whole.environ["VAGUS_GRANT_PUBLIC_KEYS"],
    ) as restored:
        listed = {session.manifest.session_id for session in await restored.client.sessions()}
        assert listed == {"asking", "later", "one", "two", "three"}
        await wait_until_empty(restored.bus, subjects.named("INBOX"), timeout_s=PATIENCE_S)
        for name, ended in before.items():
            session = await restored.client.session(name)
            assert ended <= await ended_ticks(session)
            after = await session.tick("after", timeout_s=PATIENCE_S)
            assert after.reason == "completed"
        (ticket,) = await restored.client.approvals()
        await restored.client.approve(ticket.approval_id, actor="boss")
        await eventually((whole.root / "sessions" / "asking" / "paid").exists, timeout_s=PATIENCE_S)
        assert len(await (await restored.client.session("later")).schedules()) == 1
        await wait_until_empty(restored.bus, subjects.named("INBOX"), timeout_s=PATIENCE_S)
        assert (await restored.client.verify("asking")).ok


class OneByOne(Bus):
    """Watches how many streams are being restored at a time: two at once may end nats-server 2.15."""

    def __init__(self, bus: Bus) -> None:
        self.__dict__.update(bus.__dict__)
        self.restored = 0
        self._open = False

    async def request(
        self, subject: str, data: bytes = b"", *, timeout_s: float, headers: Mapping[str, str] | None = None
    ) -> Message:
        if subject.startswith("$JS.API.STREAM.RESTORE."):
            assert not self._open
            self._open = True
        answer = await super().request(subject, data, timeout_s=timeout_s, headers=headers)
        if subject.startswith("$JS.SNAPSHOT.RESTORE.") and not data:
            self._open = False
            self.restored += 1
        return answer


async def test_streams_are_restored_one_after_another(
    saved: Path, other: EmbeddedServer, subjects: Subjects
) -> None:
    async with connect(other.url, name="test") as bus:
        watched = OneByOne(bus)
        backup = await Backups(bus=watched, subjects=subjects).put_back(anyio.Path(saved), None, untold)
    assert watched.restored == len(backup.streams) > 4


class Post:
    """The streams between which a tick for later goes; there is no kernel, it goes when the test says so."""

    def __init__(self, bus: Bus, subjects: Subjects) -> None:
        self.inbox = subjects.named("INBOX")
        self.schedules = subjects.named("SCHEDULES")
        self._bus = bus
        self._subjects = subjects

    async def due(self) -> None:
        """The tick is among the schedules, and its time has come."""
        await self._schedule(Timing(at="2020-02-29T00:00:00Z"))
        await eventually(self._has_fired)

    async def ask(self) -> None:
        """The tick is in the inbox: a command asks for it."""
        await self._bus.store(self._subjects.inbox(Role.COMMAND, "s"), b"")

    async def fire(self) -> None:
        """As a mover does: from the schedules to the inbox."""
        async with moving(self._bus, self._subjects):
            await wait_until_empty(self._bus, self.schedules)

    async def obey(self) -> None:
        """As a kernel does: from the inbox to the schedules."""
        await self._schedule(Timing(every_s=3600))
        await self._bus.api(f"STREAM.PURGE.{self.inbox}")

    async def _schedule(self, when: Timing) -> None:
        body = NewSchedule(schedule_id="t", when=when, tick=TickInput(objective="look"))
        command = Schedule(command_id="ask", session_id="s", schedule=body)
        await Calendar("s", self._bus, self._subjects).add(command)

    async def _has_fired(self) -> bool:
        """The server has put what is due in its schedule's place."""
        info = await self._bus.api(f"STREAM.INFO.{self.schedules}")
        state = msgspec.convert(info["state"], StreamState)
        return (state.last_seq, state.messages) == (2, 1)


@pytest.mark.parametrize("copies", [1, 2, 3])
@pytest.mark.parametrize(("begin", "move"), [(Post.due, Post.fire), (Post.ask, Post.obey)])
async def test_a_tick_that_changes_streams_between_two_copies_is_saved(
    bus: Bus,
    other: EmbeddedServer,
    subjects: Subjects,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    begin: Callable[[Post], Awaitable[None]],
    move: Callable[[Post], Awaitable[None]],
    copies: int,
) -> None:
    await ensure(bus, subjects, partitions=1)
    post, save, copied = Post(bus, subjects), transfer.save, list[str]()
    await begin(post)

    async def save_and_move(bus: Bus, stream: str, path: anyio.Path) -> Transfer:
        saved = await save(bus, stream, path)
        if stream in (post.inbox, post.schedules):
            copied.append(stream)
            if len(copied) == copies:
                await move(post)
        return saved

    monkeypatch.setattr(transfer, "save", save_and_move)
    async with Client.over(bus, subjects) as client:
        await client.backup(tmp_path / "backup")
    assert len(copied) >= copies
    async with connect(other.url, name="restored") as there, Client.over(there, subjects) as client:
        await client.restore_backup(tmp_path / "backup")
        assert await stored(there, post.inbox) + await stored(there, post.schedules) == 1


async def test_a_server_that_has_some_of_it_is_left_as_it_is(
    saved: Path, broker: EmbeddedServer, subjects: Subjects
) -> None:
    async with vagus.connect(broker.url, root_subject=subjects.root) as client:
        before = sorted(await names(client.bus, subjects))
        with pytest.raises(vagus.Conflict, match="has none of them"):
            await client.restore_backup(saved)
        assert sorted(await names(client.bus, subjects)) == before


async def test_a_damaged_file_is_told_before_anything_is_made(
    saved: Path, other: EmbeddedServer, subjects: Subjects
) -> None:
    damaged = saved / f"{subjects.session_stream('s')}.snapshot"
    content = bytearray(damaged.read_bytes())
    content[len(content) // 2] ^= 1
    damaged.write_bytes(content)
    async with vagus.connect(other.url, root_subject=subjects.root) as client:
        with pytest.raises(vagus.Malformed, match="its digest is another"):
            await client.restore_backup(saved)
        damaged.unlink()
        with pytest.raises(vagus.Malformed, match="No such file"):
            await client.restore_backup(saved)
        assert await names(client.bus, subjects) == []


async def test_a_backup_that_was_broken_off_is_none(
    saved: Path, other: EmbeddedServer, subjects: Subjects
) -> None:
    (saved / "backup.json").unlink()
    async with vagus.connect(other.url, root_subject=subjects.root) as client:
        with pytest.raises(vagus.NotFound, match="no complete backup"):
            await client.restore_backup(saved)
        with pytest.raises(vagus.Refused, match="is not empty"):
            await client.backup(saved)


async def test_a_backup_of_another_root_says_which(saved: Path, other: EmbeddedServer) -> None:
    async with vagus.connect(other.url, root_subject="another") as client:
        with pytest.raises(vagus.Refused, match="VAGUS_ROOT_SUBJECT="):
            await client.restore_backup(saved)


async def test_the_command_line_saves_and_restores(
    saved: Path,
    broker: EmbeddedServer,
    other: EmbeddedServer,
    subjects: Subjects,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("VAGUS_ROOT_SUBJECT", subjects.root)
    made = await run("backup", str(tmp_path / "again"), "--server", broker.url, "--json")
    assert (made.code, made.err) == (0, "")
    assert subjects.session_stream("s") in [stream["stream"] for stream in made.json["streams"]]
    back = await run("restore", str(tmp_path / "again"), "--server", other.url)
    assert back.code == 0
    assert f"restoring {subjects.session_stream('s')}" in back.err
    assert back.out.endswith(f"restored from {tmp_path / 'again'}\n")
    log = await run("verify", "s", "--server", other.url, "--json")
    assert (log.code, log.json["ok"]) == (0, True)
