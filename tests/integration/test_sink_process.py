"""The sink process as an operator runs it: started, killed, drained, misconfigured."""

import base64
import secrets
import signal
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import anyio
import msgspec
import pytest

from tests.kit.broker import Broker
from tests.kit.command_line import vagus
from tests.kit.firehose import Firehose
from tests.kit.postgres import PostgresServer
from tests.kit.processes import process
from tests.kit.receiver import OK, Request, receiver, status
from tests.kit.secured import secured
from tests.kit.up import ENVIRON
from tests.kit.waiting import eventually
from vagus.contract import streams
from vagus.contract.permissions import User
from vagus.contract.subjects import Subjects
from vagus.runtime.bus import Bus, connect
from vagus.runtime.provision import ensure, ensure_firehose
from vagus.sdk.deadletters import DeadLetters

MODULE = "vagus_relay.sinks"
KILLS = 1
"""Each costs the five seconds after which a lease ends."""
SECRET = base64.b64encode(b"s" * 32).decode()


@pytest.fixture
async def firehose(bus: Bus, subjects: Subjects) -> Firehose:
    made = Firehose(bus, subjects)
    await made.make()
    return made


def environ(broker: Broker, subjects: Subjects, sinks: dict[str, Any], **more: str) -> dict[str, str]:
    return {
        "VAGUS_SERVER": broker.url,
        "VAGUS_ROOT_SUBJECT": subjects.root,
        "VAGUS_PARTITIONS": "4",
        "VAGUS_SINKS": msgspec.json.encode({"sinks": sinks}).decode(),
        "SECRET": SECRET,
    } | more


def hook(url: str, **more: Any) -> dict[str, Any]:
    return {"type": "webhook", "url": url, "secrets": [{"env": "SECRET"}], "allow_http": True} | more


def lines(folder: Path) -> list[tuple[str, int]]:
    """All events in finished files."""
    return [
        (event["session_id"], event["sequence"])
        for path in folder.glob("day=*/*.ndjson")
        for event in map(msgspec.json.decode, path.read_bytes().splitlines())
    ]


async def test_every_sink_has_every_event_though_the_process_is_killed(
    broker: Broker, subjects: Subjects, firehose: Firehose, postgres_server: PostgresServer, tmp_path: Path
) -> None:
    """Files and tables each event once; webhooks at least once, and first in order."""
    schema = "t" + secrets.token_hex(6)
    query = f"SELECT count(*) FROM {schema}.events"

    async def stored() -> int:
        async with postgres_server.connection() as connection:
            there = await connection.fetchval("SELECT to_regclass($1)", f"{schema}.events")
            return int(await connection.fetchval(query)) if there else 0

    expected: set[tuple[str, int]] = set()

    async def put(count: int) -> None:
        for _ in range(count):
            for session in ("a", "b", "c"):
                expected.add((session, (await firehose.put(session)).sequence))

    async with receiver() as receives:
        sinks = {
            "hook": hook(receives.url, retry_first_s=0.05),
            "lake": {"type": "ndjson", "folder": str(tmp_path / "lake"), "roll_s": 0.5},
            "rows": {"type": "postgres", "dsn": {"env": "DSN"}, "schema": schema},
        }
        settings = environ(broker, subjects, sinks, DSN=postgres_server.dsn)
        for round_ in range(KILLS):
            async with process(MODULE, settings, tmp_path / f"log{round_}", ready=False) as running:
                await put(40)
                await eventually(lambda: len(receives.taken) > len(expected) / 2, timeout_s=60)
                running.send(signal.SIGKILL)
                await running.ended()
        async with process(MODULE, settings, tmp_path / "log", ready=False) as running:

            def hooked() -> set[tuple[str, int]]:
                return {(r.session, r.sequence) for r in receives.taken}

            await eventually(lambda: hooked() == expected, timeout_s=60)
            await eventually(lambda: set(lines(tmp_path / "lake")) == expected, timeout_s=60)

            async def all_stored() -> bool:
                return await stored() == len(expected)

            await eventually(all_stored, timeout_s=60)
            running.send(signal.SIGTERM)
            assert await running.ended(60) == 0
    assert max(Counter(lines(tmp_path / "lake")).values()) == 1
    for session in ("a", "b", "c"):
        firsts = list(dict.fromkeys(r.sequence for r in receives.taken if r.session == session))
        assert firsts == sorted(firsts)


async def test_what_only_the_operator_can_mend_ends_the_process_with_one_line(
    broker: Broker, subjects: Subjects, firehose: Firehose, tmp_path: Path
) -> None:
    sinks = {
        "x": {"type": "webhook", "url": "https://a.example/", "secrets": [{"env": "SECRET"}, {"env": "NO"}]}
    }
    async with process(MODULE, environ(broker, subjects, sinks), tmp_path / "log", ready=False) as running:
        assert await running.ended(60) == 2
    last = running.log.read_text().splitlines()[-1]
    assert "environment variable NO is missing" in last
    assert SECRET not in running.log.read_text()


@pytest.mark.parametrize("user", [User.SINK, User.CLIENT])
async def test_a_sink_needs_no_more_than_its_user_may(user: User, tmp_path: Path) -> None:
    """It reads by owner and by several kinds, delivers, and gives up what is refused."""

    def answer(request: Request) -> bytes:
        return status(500) if request.sequence == 1 else OK

    sink = {
        "owner": "ada",
        "kinds": ["UserMessage", "ErrorRaised"],
        "retry_for_s": 0.2,
        "retry_first_s": 0.05,
    }
    async with secured(tmp_path) as server, receiver(answer) as receives:
        names = Subjects()
        async with connect(
            server.url, name="operator", access=server.secrets.access(User.OPERATOR)
        ) as operator:
            await ensure(operator, names)
            await ensure_firehose(operator, names, streams.events(names))
            firehose = Firehose(operator, names)
            await firehose.own("a", "ada")
            for _ in range(2):
                await firehose.put("a")
            settings = {
                "VAGUS_SERVER": server.url,
                "VAGUS_PROVISION": "false",
                "VAGUS_SINKS": msgspec.json.encode({"sinks": {"hook": hook(receives.url, **sink)}}).decode(),
                "SECRET": SECRET,
            } | server.secrets.environ(user)
            async with process(MODULE, settings, tmp_path / "log") as running:
                await eventually(lambda: receives.taken, timeout_s=60)
                running.send(signal.SIGTERM)
                assert await running.ended(60) == 0
            assert await DeadLetters(bus=operator, subjects=names).all("a", after=0, limit=9)
        if user is User.SINK:  # a client may not listen for its drain, and it works without
            assert server.violations() == []


async def test_vagus_sink_postgres_fills_a_database_until_ctrl_c(
    broker: Broker, subjects: Subjects, firehose: Firehose, postgres_server: PostgresServer, tmp_path: Path
) -> None:
    schema = "t" + secrets.token_hex(6)
    for _ in range(3):
        await firehose.put("a")

    async def stored() -> bool:
        async with postgres_server.connection() as connection:
            if await connection.fetchval("SELECT to_regclass($1)", f"{schema}.events") is None:
                return False
            return bool(await connection.fetchval(f"SELECT count(*) = 3 FROM {schema}.events"))

    command = ["sink", "postgres", "--dsn", postgres_server.dsn, "--schema", schema, "--server", broker.url]
    environ = {**ENVIRON, "VAGUS_ROOT_SUBJECT": subjects.root, "VAGUS_PARTITIONS": "4"}
    with (tmp_path / "log").open("wb") as log:
        running = await anyio.open_process(
            [sys.executable, "-c", "from vagus.cli import main; main()", *command],
            env=environ,
            stdout=log,
            stderr=log,
        )
    async with running:
        try:
            await eventually(stored, timeout_s=60)
            running.send_signal(signal.SIGINT)
            with anyio.fail_after(30):
                assert await running.wait() == 0, (tmp_path / "log").read_text()
        finally:
            if running.returncode is None:
                running.kill()


def test_a_password_on_the_command_line_is_refused() -> None:
    ran = vagus("sink", "postgres", "--dsn", "postgresql://me:hush@127.0.0.1/db")
    assert (ran.code, ran.out) == (2, "")
    assert "set PGPASSWORD or VAGUS_SINK_DSN instead" in ran.err
    assert "hush" not in ran.err
