"""Bytes of a store are flipped, cut off, deleted: `vagus verify` names the first event that is not there."""

import base64
import shutil
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

import vagus
from tests.kit.audit import RICH
from tests.kit.command_line import run
from tests.kit.system import system
from vagus.contract.codec import encode_record
from vagus.contract.subjects import Subjects
from vagus.runtime.bus import Bus, connect
from vagus.runtime.embedded import EmbeddedServer
from vagus.runtime.eventlog import Commit
from vagus.runtime.jetstream_log import JetStreamLog

SUBJECTS = Subjects(root="damaged")
STREAM = SUBJECTS.session_stream("s")
LOG = Path("jetstream/$G/streams") / STREAM
BLOCK, INDEX = LOG / "msgs/1.blk", LOG / "msgs/index.db"
Damage = Callable[[bytes, int], bytes]
"""Changes a block around a place in it."""


@dataclass
class Store:
    """A store that is whole, and what its log holds."""

    folder: Path
    commits: list[Commit]

    def holds(self, text: str) -> Commit:
        return next(commit for commit in self.commits if text.encode() in commit.payload)

    def next_after(self, commit: Commit) -> set[tuple[str, int]]:
        """Each branch's first event in this commit or after it."""
        firsts: dict[str, int] = {}
        for later in self.commits[commit.stream_sequence - 1 :]:
            firsts.setdefault(later.branch_id, later.first)
        return set(firsts.items())


@pytest.fixture(scope="module")
async def store(anyio_backend: str, tmp_path_factory: pytest.TempPathFactory) -> Store:
    """A session with a tick on main, one on a fork, and one more on main."""
    folder = tmp_path_factory.mktemp("damaged")
    async with EmbeddedServer(folder / "nats") as server, system(server.url, SUBJECTS, folder) as whole:
        session = await whole.client.create_session(
            owner="me", session_id="s", policy=vagus.PolicySet.preset("pro"), budget=RICH
        )
        await session.tick("first of main")
        await session.create_branch("b")
        await session.tick("first of b", branch="b")
        await session.tick("last of main")
        commits = [commit async for commit in JetStreamLog(whole.bus, SUBJECTS).commits("s")]
    return Store(folder / "nats", commits)


@asynccontextmanager
async def damaged(
    store: Store, target: Path, damage: Callable[[Path], object], monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[str]:
    """A server on a copy of the store with some damage done to it, for the command line."""
    shutil.copytree(store.folder, target)
    damage(target)
    async with EmbeddedServer(target) as server:
        monkeypatch.setenv("VAGUS_SERVER", server.url)
        monkeypatch.setenv("VAGUS_ROOT_SUBJECT", SUBJECTS.root)
        yield server.url


async def first_bad() -> dict[str, Any]:
    """What `vagus verify` names."""
    told = await run("verify", "s", "--json")
    assert told.code == 1
    found: dict[str, Any] = told.json["first_bad"]
    assert found["problem"] == told.json["problems"][0]
    assert found["problem"].startswith(f"event {found['sequence']} of {found['branch_id']} (")
    return found


def flip(block: bytes, at: int) -> bytes:
    return block[:at] + bytes([block[at] ^ 1]) + block[at + 1 :]


def blank(block: bytes, at: int) -> bytes:
    return block[: at - 400] + bytes(800) + block[at + 400 :]


def cut(block: bytes, at: int) -> bytes:
    return block[:at]


def take_out(block: bytes, at: int) -> bytes:
    return block[:at] + block[at + 50 :]


@pytest.mark.parametrize(
    ("damage", "text"),
    [(flip, "first of main"), (flip, "first of b"), (flip, "last of main")]
    + [(damage, "first of b") for damage in (blank, cut, take_out)],
)
async def test_a_damaged_block_is_found(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, damage: Damage, text: str
) -> None:
    def do(target: Path) -> None:
        block = (target / BLOCK).read_bytes()
        (target / BLOCK).write_bytes(damage(block, block.index(text.encode())))

    bad = store.holds(text)
    async with damaged(store, tmp_path / "nats", do, monkeypatch):
        found = await first_bad()
    assert (found["branch_id"], found["sequence"]) in store.next_after(bad)
    assert found["commit"] == bad.stream_sequence
    if damage is flip:
        assert (found["branch_id"], found["sequence"]) == (bad.branch_id, bad.first)


@pytest.mark.parametrize("text", ["first of main", "last of main"])
async def test_what_a_server_drops_after_a_crash_is_found_by_the_registry(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str
) -> None:
    """Without its index it ends a log before the first message that it cannot read, and does not say so."""

    def do(target: Path) -> None:
        block = (target / BLOCK).read_bytes()
        (target / BLOCK).write_bytes(flip(block, block.index(text.encode())))
        (target / INDEX).unlink()

    async with damaged(store, tmp_path / "nats", do, monkeypatch):
        found = await first_bad()
    assert (found["branch_id"], found["sequence"]) in store.next_after(store.holds(text))
    assert found["commit"] == store.holds(text).stream_sequence


@pytest.mark.parametrize("lost", [BLOCK, LOG / "msgs", LOG], ids=["block", "messages", "stream"])
async def test_a_log_that_is_gone_is_found(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, lost: Path
) -> None:
    def do(target: Path) -> None:
        shutil.rmtree(target / lost) if (target / lost).is_dir() else (target / lost).unlink()

    async with damaged(store, tmp_path / "nats", do, monkeypatch):
        found = await first_bad()
    assert (found["branch_id"], found["sequence"], found["commit"]) in {("b", 1, 1), ("main", 1, 1)}


@pytest.mark.parametrize("text", ["first of main", "first of b", "last of main"])
async def test_what_an_administrator_deletes_is_found(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str
) -> None:
    """The server never lets go of the stream's refusal to delete; so they make the stream anew without it."""
    bad = store.holds(text)
    async with damaged(store, tmp_path / "nats", lambda target: None, monkeypatch) as url:
        async with connect(url, name="administrator") as bus:
            await made_anew(bus, {})
            assert (await run("verify", "s")).code == 0
            await bus.api(f"STREAM.MSG.DELETE.{STREAM}", {"seq": bad.stream_sequence})
        found = await first_bad()
    assert (found["branch_id"], found["sequence"]) == (bad.branch_id, bad.first)
    assert found["commit"] == bad.stream_sequence
    assert "is missing" in found["problem"]


async def test_a_purged_beginning_is_found(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with damaged(store, tmp_path / "nats", lambda target: None, monkeypatch) as url:
        async with connect(url, name="administrator") as bus:
            await made_anew(bus, {})
            await bus.api(f"STREAM.PURGE.{STREAM}", {"seq": 3})
        found, shown = await first_bad(), await run("verify", "s")
    assert (found["branch_id"], found["sequence"], found["commit"]) == ("main", 1, 1)
    assert shown.code == 1
    assert shown.err.splitlines() == [f"error: the log of session s is not whole: {found['problem']}"]


async def test_a_message_that_is_put_in_the_place_of_another_is_found(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The server finds nothing wrong with it: the chain of digests does."""
    bad = store.holds("first of b")
    other = bad.payload.replace(b"first of b", b"first of c")
    async with damaged(store, tmp_path / "nats", lambda target: None, monkeypatch) as url:
        async with connect(url, name="administrator") as bus:
            await made_anew(bus, {bad.stream_sequence: other})
        found = await first_bad()
    event = next(record for record in bad.records() if b"first of b" in encode_record(record))
    assert (found["branch_id"], found["sequence"]) == ("b", event.sequence)
    assert "is not as it was written" in found["problem"]


async def made_anew(bus: Bus, others: dict[int, bytes]) -> None:
    """The log in a stream that lets delete, with other payloads here and there."""
    info: Any = await bus.api(f"STREAM.INFO.{STREAM}")
    messages: list[Any] = []
    for sequence in range(1, info["state"]["last_seq"] + 1):
        answer: Any = await bus.api(f"STREAM.MSG.GET.{STREAM}", {"seq": sequence})
        messages.append(answer["message"])
    await bus.api(f"STREAM.DELETE.{STREAM}")
    lax = info["config"] | {"deny_delete": False, "deny_purge": False}
    await bus.api(f"STREAM.CREATE.{STREAM}", lax)
    for message in messages:
        lines = base64.b64decode(message["hdrs"]).decode().split("\r\n")
        headers = dict(line.split(": ", 1) for line in lines if line.startswith("Vagus-"))
        payload = others.get(message["seq"], base64.b64decode(message["data"]))
        await bus.store(message["subject"], payload, headers=headers)
