"""Sinks as their process runs them, in this one: what they get, what becomes of what is refused."""

import base64
import sqlite3
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing
from functools import partial
from pathlib import Path
from typing import Any

import anyio
import msgspec
import pytest

from tests.kit.documents import ROOT
from tests.kit.firehose import Firehose
from tests.kit.receiver import OK, Request, receiver, status
from tests.kit.waiting import eventually
from vagus.contract import streams
from vagus.contract.events import UserMessage
from vagus.contract.messages import decode
from vagus.contract.subjects import Subjects
from vagus.contract.subscriptions import Checkpoint
from vagus.runtime.bucket import Bucket
from vagus.runtime.bus import Bus
from vagus.runtime.settings import read_settings
from vagus.sdk.deadletters import DeadLetters
from vagus_relay.sinks.service import serve
from vagus_relay.sinks.settings import SinkSettings

SECRET = base64.b64encode(b"s" * 32).decode()


@pytest.fixture
async def firehose(bus: Bus, subjects: Subjects) -> Firehose:
    made = Firehose(bus, subjects)
    await made.make()
    return made


def hook(url: str, **more: Any) -> dict[str, Any]:
    return {"type": "webhook", "url": url, "secrets": [{"env": "SECRET"}], "allow_http": True} | more


@asynccontextmanager
async def serving(bus: Bus, subjects: Subjects, sinks: dict[str, Any], **environ: str) -> AsyncIterator[None]:
    """Run sinks while the block lasts; then they are drained."""
    text = msgspec.json.encode({"sinks": sinks}).decode()
    settings = read_settings(SinkSettings, {"VAGUS_ROOT_SUBJECT": subjects.root, "VAGUS_SINKS": text})
    draining, ready = anyio.Event(), anyio.Event()
    run = partial(serve, environ={"SECRET": SECRET} | environ, started=ready.set)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(run, bus, settings, draining)
        with anyio.fail_after(60):
            await ready.wait()
        yield
        draining.set()


async def test_what_a_receiver_refuses_is_a_dead_letter_of_its_sink(
    bus: Bus, subjects: Subjects, firehose: Firehose
) -> None:
    def answer(request: Request) -> bytes:
        return status(500) if (request.session, request.sequence) == ("a", 2) else OK

    async with receiver(answer) as receives:
        for session in ("a", "a", "a", "b"):
            await firehose.put(session)
        sinks = {"hook": hook(receives.url, retry_for_s=0.5, retry_first_s=0.05)}
        async with serving(bus, subjects, sinks):
            await eventually(lambda: len(receives.taken) == 3, timeout_s=60)
            (letter,) = await eventually(
                lambda: DeadLetters(bus=bus, subjects=subjects).all("a", after=0, limit=9), timeout_s=60
            )
    assert letter.reason.startswith("subscription hook: not delivered within")
    assert [(r.session, r.sequence) for r in receives.taken if r.session == "a"] == [("a", 1), ("a", 3)]


async def test_the_time_a_receiver_has_refused_survives_the_process(
    bus: Bus, subjects: Subjects, firehose: Firehose
) -> None:
    bucket = Bucket(bus, subjects.named(streams.SUBSCRIPTIONS))

    async def noted() -> bool:
        """Whether it is written down, where it stays whatever becomes of the process."""
        entries = await bucket.entries("hook.*")
        return any(tried_s > 0.5 for e in entries for tried_s in decode(e.value, Checkpoint).tried_s.values())

    async with receiver(lambda _: status(500)) as receives:
        await firehose.put("a")
        async with serving(bus, subjects, {"hook": hook(receives.url, retry_first_s=0.05)}):
            await eventually(noted, timeout_s=60)
        before = len(receives.requests)
        async with serving(bus, subjects, {"hook": hook(receives.url, retry_for_s=0.5, retry_first_s=0.05)}):
            (letter,) = await eventually(
                lambda: DeadLetters(bus=bus, subjects=subjects).all("a", after=0, limit=9), timeout_s=60
            )
        assert len(receives.requests) == before + 1, "its time was up: one more attempt, and no second one"
    assert letter.reason.startswith("subscription hook: not delivered within")


async def test_a_sink_gets_what_it_asks_for(bus: Bus, subjects: Subjects, firehose: Firehose) -> None:
    async with receiver() as receives:
        for session in ("a", "b"):
            await firehose.put(session)
            await firehose.put(session, UserMessage(content="x"), branch="b")
        sinks = {"hook": hook(receives.url, sessions=["b"], branches=["b"], kinds=["UserMessage"])}
        async with serving(bus, subjects, sinks):
            await eventually(lambda: receives.taken, timeout_s=60)
            await firehose.put("a", UserMessage(content="no"), branch="b")
            await firehose.put("b", UserMessage(content="yes"), branch="b")
            await eventually(lambda: len(receives.taken) == 2, timeout_s=60)
    assert [(r.session, r.event["branch_id"], r.sequence) for r in receives.taken] == [
        ("b", "b", 1),
        ("b", "b", 2),
    ]


async def test_a_receiver_that_is_away_holds_up_no_other_sink_and_no_drain(
    bus: Bus, subjects: Subjects, firehose: Firehose, caplog: pytest.LogCaptureFixture
) -> None:
    async with receiver() as receives:
        sinks = {"rows": {"type": "postgres", "dsn": {"env": "DSN"}}, "hook": hook(receives.url)}
        await firehose.put("a")
        with anyio.fail_after(60):
            async with serving(bus, subjects, sinks, DSN="postgresql://me@127.0.0.1:1/none"):
                await eventually(lambda: receives.taken, timeout_s=60)
    assert "sink rows: no connection to PostgreSQL" in caplog.text


async def test_a_sink_of_ones_own(
    bus: Bus, subjects: Subjects, firehose: Firehose, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(str(ROOT / "examples"))
    path = tmp_path / "events.sqlite"
    sink = {"type": "custom", "factory": "sqlite_sink:sqlite_sink", "options": {"path": str(path)}}
    for _ in range(3):
        await firehose.put("a")

    def rows() -> list[Any]:
        with closing(sqlite3.connect(path)) as database:
            return database.execute("SELECT session, sequence FROM events ORDER BY 2").fetchall()

    async with serving(bus, subjects, {"mine": sink}):
        await eventually(lambda: rows() == [("a", 1), ("a", 2), ("a", 3)], timeout_s=60)
    del sys.modules["sqlite_sink"]
