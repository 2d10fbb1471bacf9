"""The PostgreSQL sink against a real server: each event one row, over restarts and repetitions."""

import secrets
from typing import Any

import anyio
import pytest

from tests.kit.postgres import PostgresServer
from tests.kit.sinks import FakeSource, given, several
from tests.kit.waiting import eventually
from vagus.contract.errors import SettingsError
from vagus_relay.sinks.carrier import Carrier
from vagus_relay.sinks.configuration import PostgresSink
from vagus_relay.sinks.patience import Patience
from vagus_relay.sinks.port import Poison, TryLater
from vagus_relay.sinks.postgres import postgres
from vagus_relay.sinks.schema import migrations, script
from vagus_relay.sinks.secret import Secret
from vagus_relay.sinks.tally import Tally


@pytest.fixture
def schema() -> str:
    """Names that no other test has."""
    return "t" + secrets.token_hex(6)


def config(schema: str, **more: Any) -> PostgresSink:
    return PostgresSink(dsn=Secret(env="DSN"), schema=schema, **more)


async def rows(server: PostgresServer, query: str, *arguments: object) -> list[tuple[Any, ...]]:
    async with server.connection() as connection:
        return [tuple(row) for row in await connection.fetch(query, *arguments)]


async def test_each_event_is_one_row_however_often_it_comes(
    postgres_server: PostgresServer, schema: str
) -> None:
    events = several("s", 50) + several("t", 3)
    async with postgres(config(schema), {"DSN": postgres_server.dsn}) as sink:
        await sink.write(events)
        await sink.write(events[10:] + events[:1])
    found = await rows(
        postgres_server,
        f"SELECT session_id, count(*), max(sequence) FROM {schema}.events GROUP BY 1 ORDER BY 1",
    )
    assert found == [("s", 50, 50), ("t", 3, 3)]


async def test_a_row_has_what_the_event_says(postgres_server: PostgresServer, schema: str) -> None:
    event = given("s", 1, {"type": "Custom", "event_type": "mine", "data": {"a": [1, "é"]}}, trace_id="t1")
    async with postgres(config(schema), {"DSN": postgres_server.dsn}) as sink:
        await sink.write([event])
    found = await rows(
        postgres_server,
        "SELECT event_id, agent_id, at::text, type, event_type, actor, correlation_id, causation_id,"
        f" trace_id, digest, kind #>> '{{data,a,1}}' FROM {schema}.events",
    )
    at = "2026-11-23 10:00:00.123457+00"
    assert found == [
        (
            event.event["event_id"],
            "agent",
            at,
            "Custom",
            "mine",
            "vagus-kernel",
            "tick-1",
            None,
            "t1",
            "blake3:00",
            "é",
        )
    ]


async def test_a_session_that_was_made_again_replaces_its_rows(
    postgres_server: PostgresServer, schema: str
) -> None:
    async with postgres(config(schema), {"DSN": postgres_server.dsn}) as sink:
        await sink.write([given("s", 1, agent="first")])
        await sink.write([given("s", 1, agent="second")])
    assert await rows(postgres_server, f"SELECT agent_id FROM {schema}.events") == [("second",)]


async def test_what_postgres_cannot_keep_is_replaced(postgres_server: PostgresServer, schema: str) -> None:
    kind = {"type": "Custom", "event_type": "a\0b", "data": {"k\0": ["v\0", "\\u0000"]}}
    async with postgres(config(schema), {"DSN": postgres_server.dsn}) as sink:
        await sink.write([given("s", 1, kind)])
    found = await rows(postgres_server, f"SELECT event_type, kind #>> '{{data}}' FROM {schema}.events")
    assert found == [("a\ufffdb", '{"k\ufffd": ["v\ufffd", "\\\\u0000"]}')]


async def test_of_an_erased_session_only_the_tombstone_stays(
    postgres_server: PostgresServer, schema: str
) -> None:
    tombstone = {"type": "Custom", "event_type": "vagus.session_erased", "data": {"reason": "asked"}}
    async with postgres(config(schema), {"DSN": postgres_server.dsn}) as sink:
        await sink.write(several("s", 5) + several("t", 2) + [given("s", 1, branch="b")])
        last = [*several("t", 3, 3), given("s", 7, tombstone)]
        await sink.write(last)
        await sink.write(last)
    found = await rows(postgres_server, f"SELECT session_id, sequence FROM {schema}.events ORDER BY 1, 2")
    assert found == [("s", 7), ("t", 1), ("t", 2), ("t", 3)]


async def test_an_event_that_postgres_refuses_is_found_among_others(
    postgres_server: PostgresServer, schema: str
) -> None:
    events = several("s", 9)
    events[5] = given("s", 6, None)
    events[5].line = events[5].line.replace(b'"no. 6"', b"1e999999")
    async with postgres(config(schema), {"DSN": postgres_server.dsn}) as sink:
        with pytest.raises(Poison, match="PostgreSQL refuses it") as raised:
            await sink.write(events)
        assert raised.value.delivery is events[5]
        await sink.write(events[:5] + events[6:])
    assert await rows(postgres_server, f"SELECT count(*) FROM {schema}.events") == [(8,)]


@pytest.mark.parametrize("how", ["crash", "stop"])
async def test_a_server_that_restarts_has_every_event_once(
    postgres_server: PostgresServer, schema: str, how: str
) -> None:
    source, tally, draining = FakeSource(), Tally("x"), anyio.Event()
    async with (
        postgres(config(schema), {"DSN": postgres_server.dsn}) as sink,
        anyio.create_task_group() as tasks,
    ):
        carrier = Carrier(source, sink, tally, patience=Patience(first_s=0.02, most_s=0.2))
        tasks.start_soon(carrier.run, draining)
        source.put(several("s", 200))
        await eventually(lambda: tally.delivered == 200)
        await (postgres_server.crash() if how == "crash" else postgres_server.stop())
        source.put(several("s", 600, 201))
        await eventually(lambda: tally.retries > 1)
        await postgres_server.start()
        await eventually(lambda: tally.delivered == 600)
        draining.set()
    found = await rows(
        postgres_server, f"SELECT count(*), count(DISTINCT sequence), max(sequence) FROM {schema}.events"
    )
    assert found == [(600, 600, 600)]


async def test_a_connection_that_is_cut_during_a_batch_stores_it_once(
    postgres_server: PostgresServer, schema: str
) -> None:
    """The transaction is on its way, held up by a lock, when the server throws the connection out."""
    async with postgres(config(schema), {"DSN": postgres_server.dsn}) as sink:
        events = several("s", 5)
        async with postgres_server.connection() as other, anyio.create_task_group() as tasks:
            failed = []

            async def write() -> None:
                try:
                    await sink.write(events)
                except TryLater as error:
                    failed.append(error)

            transaction = other.transaction()
            await transaction.start()
            await other.execute(f"LOCK TABLE {schema}.events IN EXCLUSIVE MODE")
            tasks.start_soon(write)
            blocked = "FROM pg_stat_activity WHERE application_name = 'vagus' AND wait_event_type = 'Lock'"
            await eventually(lambda: rows(postgres_server, f"SELECT pg_terminate_backend(pid) {blocked}"))
            await eventually(lambda: failed)
            await transaction.rollback()
        await sink.write(events)
    assert await rows(postgres_server, f"SELECT count(*) FROM {schema}.events") == [(5,)]


async def test_several_who_start_at_once_make_the_schema_once(
    postgres_server: PostgresServer, schema: str
) -> None:
    async def start() -> None:
        async with postgres(config(schema), {"DSN": postgres_server.dsn}) as sink:
            await sink.write([given()])

    async with anyio.create_task_group() as tasks:
        for _ in range(4):
            tasks.start_soon(start)
    found = await rows(postgres_server, f"SELECT version FROM {schema}.migrations ORDER BY 1")
    assert found == [(step.version,) for step in migrations()]


async def test_the_printed_schema_is_what_the_sink_wants(
    postgres_server: PostgresServer, schema: str
) -> None:
    async with postgres_server.connection() as connection:
        await connection.execute(script(schema))
    async with postgres(config(schema, migrate=False), {"DSN": postgres_server.dsn}) as sink:
        await sink.write(several("s", 3))
    assert await rows(postgres_server, f"SELECT count(*) FROM {schema}.events") == [(3,)]


async def test_a_sink_that_may_not_change_the_schema_asks_for_it(
    postgres_server: PostgresServer, schema: str
) -> None:
    with pytest.raises(SettingsError, match="cannot use the PostgreSQL database: UndefinedTableError"):
        async with postgres(config(schema, migrate=False), {"DSN": postgres_server.dsn}):
            pass
    async with postgres(config(schema), {"DSN": postgres_server.dsn}), postgres_server.connection() as other:
        await other.execute(f"DELETE FROM {schema}.migrations WHERE version > 1")
    with pytest.raises(SettingsError, match="is at version 1, this Vagus needs"):
        async with postgres(config(schema, migrate=False), {"DSN": postgres_server.dsn}):
            pass


async def test_least_rights_are_enough_to_write(postgres_server: PostgresServer, schema: str) -> None:
    async with postgres_server.connection() as connection:
        await connection.execute(script(schema))
        await connection.execute(
            f"CREATE ROLE {schema}_sink LOGIN; GRANT USAGE ON SCHEMA {schema} TO {schema}_sink;"
            f"GRANT SELECT, INSERT, UPDATE, DELETE ON {schema}.events TO {schema}_sink;"
            f"GRANT SELECT ON {schema}.migrations TO {schema}_sink"
        )
    dsn = postgres_server.dsn.replace("vagus@", f"{schema}_sink@")
    async with postgres(config(schema, migrate=False), {"DSN": dsn}) as sink:
        await sink.write([given(), given()])


@pytest.mark.parametrize(
    ("dsn", "raised"),
    [
        ("postgresql://nobody:hush@127.0.0.1:{port}/postgres", SettingsError),
        ("postgresql://vagus:hush@127.0.0.1:{port}/nowhere", SettingsError),
        ("no dsn hush", SettingsError),
        ("postgresql://vagus:hush@127.0.0.1:1/postgres", TryLater),
    ],
)
async def test_a_database_that_cannot_be_used_is_told_of_without_its_password(
    postgres_server: PostgresServer, schema: str, dsn: str, raised: type[Exception]
) -> None:
    environ = {"DSN": dsn.format(port=postgres_server.port)}
    with pytest.raises(raised) as told:
        async with postgres(config(schema), environ):
            pass
    assert "hush" not in str(told.value)
