"""The outputs in docs/queries.md: `python -m tests.queries.outputs` writes them anew."""

import re
import subprocess
from collections.abc import Callable
from pathlib import Path

import anyio

from tests.kit.documents import ROOT
from tests.kit.postgres import PostgresServer, program, running
from tests.kit.sinks import Given
from vagus_relay.sinks import envelope
from vagus_relay.sinks.configuration import PostgresSink
from vagus_relay.sinks.postgres import postgres
from vagus_relay.sinks.secret import Secret

DOCUMENT = ROOT / "docs/queries.md"
EVENTS = Path(__file__).parent / "events.ndjson"
_QUERY = re.compile(r"```sql\n(.*?)```\n```text\n(.*?)```\n", re.DOTALL)


def events() -> list[Given]:
    """What was recorded."""
    found = []
    for line in EVENTS.read_bytes().splitlines():
        event = envelope.read(line)
        found.append(Given(line, event.session_id, event.branch_id, event.sequence))
    return found


async def load(server: PostgresServer, schema: str) -> None:
    """Have the sink write what was recorded."""
    sink = PostgresSink(dsn=Secret(env="DSN"), schema=schema)
    async with postgres(sink, {"DSN": server.dsn}) as opened:
        await opened.write(events())


def ask(server: PostgresServer, schema: str, query: str) -> str:
    """The answer as psql prints it, without spaces at the ends of lines."""
    psql = program("psql")
    assert psql is not None, "psql comes with the server's packages"
    before = f"SET search_path TO {schema}; SET timezone TO 'UTC'"
    done = subprocess.run(
        [psql, "-X", "-q", server.dsn, "-c", before, "-c", query], capture_output=True, check=False, text=True
    )
    assert done.returncode == 0, done.stderr
    return "\n".join(line.rstrip() for line in done.stdout.strip("\n").splitlines()) + "\n"


def answered(document: str, answer: Callable[[str], str]) -> str:
    """The document with the answers to its queries."""
    return _QUERY.sub(lambda match: f"```sql\n{match[1]}```\n```text\n{answer(match[1])}```\n", document)


async def _write() -> None:
    async with running() as server:
        await load(server, "vagus")
        DOCUMENT.write_text(answered(DOCUMENT.read_text(), lambda query: ask(server, "vagus", query)))


if __name__ == "__main__":
    anyio.run(_write)
