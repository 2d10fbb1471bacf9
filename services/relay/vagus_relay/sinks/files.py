"""Files of lines, partitioned by the day (UTC) on which an event happened."""

import logging
import os
import sqlite3
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

from anyio.to_thread import run_sync

from vagus.contract import clock
from vagus.contract.errors import Malformed
from vagus.contract.limits import MIB
from vagus_relay.sinks import envelope
from vagus_relay.sinks.configuration import NdjsonSink, ParquetSink
from vagus_relay.sinks.encoding import Format, encode, prepare
from vagus_relay.sinks.port import Delivery, Poison, TryLater
from vagus_relay.sinks.spool import Entry, Spool

_log = logging.getLogger("vagus.sink")


class Files:
    """A folder that events are written to: each once, whatever dies."""

    def __init__(self, spool: Spool, form: Format = Format.JSON) -> None:
        self._spool = spool
        self._format = form

    async def write(self, batch: Sequence[Delivery]) -> None:
        """Append to the files of the events' days, and finish the files whose time has come."""
        entries = [entry(delivery, self._format) for delivery in batch]
        try:
            await run_sync(self._append, entries)
        except (OSError, sqlite3.Error) as error:
            raise TryLater(f"cannot write: {error}") from error

    def _append(self, entries: Sequence[Entry]) -> None:
        if entries:
            self._spool.append(entries)
        if finished := self._spool.roll():
            _log.info("finished %d files", finished)


def entry(delivery: Delivery, form: Format) -> Entry:
    """An event for the spool; `Poison` if it is none that a day can be told of."""
    try:
        event = envelope.read(delivery.line)
        clock.parse(event.timestamp)
        line = encode(delivery.line, form).body
        day = event.day
    except Malformed as error:
        raise Poison(delivery, error.message) from error
    return Entry(
        day,
        delivery.session_id,
        delivery.branch_id,
        event.agent_id,
        delivery.sequence,
        line,
        retried=delivery.retried,
    )


@asynccontextmanager
async def ndjson(config: NdjsonSink) -> AsyncIterator[Files]:
    """A sink that writes `day=…/….ndjson`. `SettingsError` if the folder cannot be used."""
    prepare(config.format)
    async with _spooled(config, ".ndjson", os.replace) as spool:
        yield Files(spool, config.format)


@asynccontextmanager
async def parquet(config: ParquetSink) -> AsyncIterator[Files]:
    """A sink that writes `day=…/….parquet`. `SettingsError` if the folder or pyarrow cannot be used."""
    from vagus_relay.sinks.parquet import convert  # pyarrow is large, and not everybody's

    async with _spooled(config, ".parquet", convert) as spool:
        yield Files(spool)


@asynccontextmanager
async def _spooled(
    config: NdjsonSink | ParquetSink, suffix: str, finish: Callable[[Path, Path], None]
) -> AsyncIterator[Spool]:
    spool = Spool(
        config.folder,
        finish=finish,
        suffix=suffix,
        roll_bytes=config.roll_mib * MIB,
        roll_s=config.roll_s,
    )
    try:
        yield spool
    finally:
        spool.close()
