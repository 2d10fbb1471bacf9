"""PostgreSQL: every event as a row, once, whatever dies."""

import logging
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from typing import Any, Final, Protocol, TypeAlias

import anyio
import msgspec

from vagus.contract import clock
from vagus.contract.errors import Malformed, SettingsError
from vagus.contract.extensions import SessionErased
from vagus.contract.json import Json
from vagus_relay.sinks import envelope
from vagus_relay.sinks.configuration import PostgresSink
from vagus_relay.sinks.port import Delivery, Poison, TryLater
from vagus_relay.sinks.schema import LOCK, application, migrations, preparation

try:
    import asyncpg
except ImportError as missing:
    raise SettingsError("a postgres sink needs one more package: install vagus[postgres]") from missing

Row: TypeAlias = tuple[str | None, ...]

CONNECT_S: Final = 10
STATEMENT_S: Final = 60
TOMBSTONE: Final = SessionErased.event_type
_TRANSIENT: Final = ("08", "40", "53", "55", "57", "58", "XX")
"""Classes of SQLSTATE that pass: connection, rollback, resources, locks, operator, system, internal."""
_POISON: Final = ("22", "23")
"""Those that are about the data."""
_NUL: Final = b"\\u0000"

_COLUMNS: Final[Mapping[str, str]] = {
    "session_id": "text", "branch_id": "text", "sequence": "bigint", "event_id": "text", "agent_id": "text",
    "at": "timestamptz", "type": "text", "event_type": "text", "actor": "text", "correlation_id": "text",
    "causation_id": "text", "trace_id": "text", "digest": "text", "kind": "jsonb",
}  # fmt: skip

_SESSION: Final = list(_COLUMNS).index("session_id")
_EVENT_TYPE: Final = list(_COLUMNS).index("event_type")

_log = logging.getLogger("vagus.sink")


class _Connection(Protocol):
    """What is used of asyncpg's."""

    def is_closed(self) -> bool: ...

    def transaction(self) -> AbstractAsyncContextManager[object]: ...

    async def execute(self, query: str, *args: object) -> str: ...

    async def fetchval(self, query: str) -> Any: ...

    async def close(self, *, timeout: float) -> None: ...


class Postgres:
    """One schema of one database, over one connection that is opened again whenever it is lost."""

    def __init__(self, dsn: str, *, schema: str, migrate: bool) -> None:
        self._dsn = dsn
        self._schema = schema
        self._migrate = migrate
        self._insert = upsert(schema)
        self._erase = (
            f'DELETE FROM "{schema}".events '  # noqa: S608 - the schema's name is checked
            "WHERE session_id = ANY($1::text[]) AND event_type IS DISTINCT FROM $2"
        )
        self._connection: _Connection | None = None

    async def write(self, batch: Sequence[Delivery]) -> None:
        """Store the batch in one transaction; rows that are there already stay as they are.

        The tombstone of an erased session removes all its other rows.
        """
        if not batch:
            return
        rows = {(d.session_id, d.branch_id, d.sequence): row(d) for d in batch}
        try:
            await self._store(list(rows.values()))
        except _BadData as error:
            await self._find(batch, error)

    async def open(self) -> None:
        """Connect, and bring the schema up to date or check it.

        Raises `SettingsError` on what only the operator can mend, `TryLater` if the server is away.
        """
        try:
            with anyio.fail_after(CONNECT_S):
                self._connection = connection = await _connect(self._dsn)
            await self._prepare(connection)
        except (OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError) as error:
            await self.close()
            if _passing(error):
                raise TryLater(f"no connection to PostgreSQL: {_text(error)}") from error
            raise SettingsError(f"cannot use the PostgreSQL database: {_text(error)}") from error
        except ValueError:  # whose text may hold the password
            raise SettingsError("the DSN cannot be read: give postgresql://user@host:5432/database") from None
        except BaseException:
            await self.close()
            raise

    async def close(self) -> None:
        """Let go of the connection. Idempotent."""
        connection, self._connection = self._connection, None
        if connection is not None:
            with anyio.CancelScope(shield=True), suppress(Exception):  # it may be gone
                await connection.close(timeout=2)

    async def _connected(self) -> _Connection:
        if self._connection is None or self._connection.is_closed():
            try:
                await self.open()
            except SettingsError as error:  # it was right once
                raise TryLater(error.message) from error
        assert self._connection is not None  # noqa: S101 - open() has set it
        return self._connection

    async def _store(self, rows: Sequence[Row]) -> None:
        connection = await self._connected()
        columns = list(zip(*rows, strict=True))
        erased = [row[_SESSION] for row in rows if row[_EVENT_TYPE] == TOMBSTONE]
        try:
            async with connection.transaction():
                await connection.execute(self._insert, *columns)
                if erased:
                    await connection.execute(self._erase, erased, TOMBSTONE)
        except (OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError) as error:
            if _state(error)[:2] in _POISON:
                raise _BadData(_text(error)) from error
            await self.close()
            raise TryLater(f"PostgreSQL did not take {len(rows)} events: {_text(error)}") from error

    async def _find(self, batch: Sequence[Delivery], error: "_BadData") -> None:
        """Store one by one, up to the event that the database refuses."""
        for delivery in batch:
            try:
                await self._store([row(delivery)])
            except _BadData as refused:
                raise Poison(delivery, f"PostgreSQL refuses it: {refused}") from error

    async def _prepare(self, connection: _Connection) -> None:
        steps = migrations()
        if self._migrate:
            async with connection.transaction():
                await connection.execute("SELECT pg_advisory_xact_lock($1)", LOCK)
                await connection.execute(preparation(self._schema))
                for step in steps[await self._version(connection) :]:
                    await connection.execute(application(self._schema, step))
                    _log.info("schema %s: %s", self._schema, step.name)
        elif (version := await self._version(connection)) < len(steps):
            raise SettingsError(
                f"schema {self._schema} is at version {version}, this Vagus needs {len(steps)}: "
                "say migrate = true, or apply what `vagus sink postgres --print-schema` prints"
            )

    async def _version(self, connection: _Connection) -> int:
        found: int = await connection.fetchval(
            f'SELECT coalesce(max(version), 0) FROM "{self._schema}".migrations'  # noqa: S608 - checked
        )
        return found


async def _connect(dsn: str) -> _Connection:
    found: _Connection = await asyncpg.connect(
        dsn, command_timeout=STATEMENT_S, timeout=CONNECT_S, server_settings={"application_name": "vagus"}
    )
    return found


class _BadData(Exception):
    """The database refuses what a row holds."""


def upsert(schema: str) -> str:
    """SQL that stores rows given as one array a column; a row that is there with the same event stays."""
    names = ", ".join(_COLUMNS)
    arrays = ", ".join(f"${number}::text[]" for number in range(1, len(_COLUMNS) + 1))
    values = ", ".join(f"{name}::{kind}" for name, kind in _COLUMNS.items())
    key = ("session_id", "branch_id", "sequence")
    changes = ", ".join(f"{name} = excluded.{name}" for name in _COLUMNS if name not in key)
    return (
        f'INSERT INTO "{schema}".events AS stored ({names}) '  # noqa: S608 - the schema's name is checked
        f"SELECT {values} FROM unnest({arrays}) AS given ({names}) "
        f"ON CONFLICT ({', '.join(key)}) DO UPDATE SET {changes} "
        "WHERE stored.event_id <> excluded.event_id"  # the session was made anew under its old id
    )


def row(delivery: Delivery) -> Row:
    """An event as its columns, all of them text; `Poison` if it is none."""
    try:
        event = envelope.read(delivery.line)
        clock.parse(event.timestamp)
    except Malformed as error:
        raise Poison(delivery, error.message) from error
    kind, event_type = envelope.names(event.kind)
    columns = (
        delivery.session_id,
        delivery.branch_id,
        str(delivery.sequence),
        event.event_id,
        event.agent_id,
        event.timestamp,
        kind,
        event_type,
        event.actor.component if event.actor is not None else None,
        event.correlation_id,
        event.causation_id,
        event.trace_id,
        event.digest,
        _jsonb(event.kind),
    )
    return tuple(text if text is None else _plain(text) for text in columns)


def _jsonb(raw: msgspec.Raw) -> str:
    """JSON as jsonb takes it: without U+0000."""
    text = bytes(raw)
    if _NUL in text:
        text = msgspec.json.encode(_without_nul(msgspec.json.decode(text)))
    return text.decode()


def _plain(text: str) -> str:
    return text.replace("\0", "\N{REPLACEMENT CHARACTER}")


def _without_nul(value: Json) -> Json:
    match value:
        case str():
            return _plain(value)
        case list():
            return [_without_nul(item) for item in value]
        case dict():
            return {_plain(name): _without_nul(item) for name, item in value.items()}
    return value


def _passing(error: Exception) -> bool:
    if isinstance(error, asyncpg.PostgresError):
        return (_state(error) or "XX")[:2] in _TRANSIENT
    return not isinstance(error, asyncpg.ClientConfigurationError)


def _state(error: Exception) -> str:
    """Its SQLSTATE; empty if it has none."""
    return str(getattr(error, "sqlstate", None) or "")


def _text(error: Exception) -> str:
    return f"{type(error).__name__}: {error}".rstrip(": ")


@asynccontextmanager
async def postgres(config: PostgresSink, environ: Mapping[str, str]) -> AsyncIterator[Postgres]:
    """The sink, connected. `SettingsError` on what only the operator can mend; `TryLater` if it is away."""
    sink = Postgres(config.dsn.read(environ), schema=config.schema, migrate=config.migrate)
    try:
        await sink.open()
        yield sink
    finally:
        await sink.close()
