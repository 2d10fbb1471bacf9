"""Lines of a log as a Parquet file, a column for each field of an event."""

import os
from itertools import islice
from pathlib import Path
from typing import Any, Final

from vagus.contract import clock
from vagus.contract.errors import SettingsError
from vagus_relay.sinks import envelope

try:
    import pyarrow as pa
    import pyarrow.parquet as pq
except ImportError as missing:
    raise SettingsError("a parquet sink needs one more package: install vagus[parquet]") from missing

GROUP_ROWS: Final = 20_000
"""Rows of a group: what is in memory at a time while a file is made."""

SCHEMA: Final = pa.schema(
    [
        pa.field("session_id", pa.string(), nullable=False),
        pa.field("branch_id", pa.string(), nullable=False),
        pa.field("sequence", pa.int64(), nullable=False),
        pa.field("event_id", pa.string(), nullable=False),
        pa.field("agent_id", pa.string(), nullable=False),
        pa.field("at", pa.timestamp("us", tz="UTC"), nullable=False),
        pa.field("type", pa.string(), nullable=False),
        pa.field("event_type", pa.string()),
        pa.field("actor", pa.string()),
        pa.field("correlation_id", pa.string()),
        pa.field("causation_id", pa.string()),
        pa.field("trace_id", pa.string()),
        pa.field("digest", pa.string()),
        pa.field("kind", pa.string(), nullable=False),
    ]
)
"""`kind` is JSON; `session_id`, `branch_id` and `sequence` together name a row."""


def convert(grown: Path, final: Path) -> None:
    """Make the Parquet file of a file of lines; it is there whole, or not at all."""
    part = grown.with_suffix(".part")
    with grown.open("rb") as lines, pq.ParquetWriter(part, SCHEMA, compression="zstd") as writer:
        while rows := [_row(line) for line in islice(lines, GROUP_ROWS)]:
            writer.write_table(pa.Table.from_pylist(rows, schema=SCHEMA))
    with part.open("rb") as whole:
        os.fsync(whole.fileno())
    part.replace(final)


def _row(line: bytes) -> dict[str, Any]:
    event = envelope.read(line)
    kind, event_type = envelope.names(event.kind)
    return {
        "session_id": event.session_id,
        "branch_id": event.branch_id,
        "sequence": event.sequence,
        "event_id": event.event_id,
        "agent_id": event.agent_id,
        "at": clock.parse(event.timestamp) // 1000,
        "type": kind,
        "event_type": event_type,
        "actor": event.actor.component if event.actor is not None else None,
        "correlation_id": event.correlation_id,
        "causation_id": event.causation_id,
        "trace_id": event.trace_id,
        "digest": event.digest,
        "kind": bytes(event.kind).decode(),
    }
