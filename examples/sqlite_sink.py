"""A sink of your own: events into an SQLite table, so that each is there once.

[sinks.mine]
type = "custom"
factory = "sqlite_sink:sqlite_sink"
options = { path = "events.sqlite" }
"""

import sqlite3
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, closing

from anyio.to_thread import run_sync

from vagus_relay.sinks.port import Delivery, Options, TryLater

TABLE = """CREATE TABLE IF NOT EXISTS events (session TEXT, branch TEXT, sequence INTEGER, line TEXT,
    PRIMARY KEY (session, branch, sequence))"""


class SqliteSink:
    def __init__(self, database: sqlite3.Connection) -> None:
        self._database = database

    async def write(self, batch: Sequence[Delivery]) -> None:
        rows = [(d.session_id, d.branch_id, d.sequence, d.line.decode()) for d in batch]
        try:
            await run_sync(self._store, rows)
        except sqlite3.OperationalError as error:  # locked, or the disk is full: the batch comes again
            raise TryLater(f"SQLite: {error}") from error

    def _store(self, rows: list[tuple[str, str, int, str]]) -> None:
        with self._database:  # one transaction; what is there already stays
            self._database.executemany("INSERT OR IGNORE INTO events VALUES (?, ?, ?, ?)", rows)


@asynccontextmanager
async def sqlite_sink(options: Options) -> AsyncIterator[SqliteSink]:
    with closing(sqlite3.connect(str(options["path"]), check_same_thread=False)) as database:
        database.execute(TABLE)
        yield SqliteSink(database)
