"""The tables and views of the PostgreSQL sink: migrations, a file each, never changed after a release."""

import re
import sys
from importlib.resources import files
from typing import Final

import msgspec

NAME: Final = re.compile(r"[a-z_][a-z0-9_]{0,62}")
_FILE: Final = re.compile(r"(\d{4})_\w+\.sql")
LOCK: Final = 7_215_033_468_133_925_223
"""Of the advisory lock under which migrations run: any number, the same for all who migrate."""


class Migration(msgspec.Struct, frozen=True):
    """One step of the schema."""

    version: int
    name: str
    sql: str
    """Runs with the schema first on the search path, in a transaction."""


def migrations() -> tuple[Migration, ...]:
    """All steps, from 1 on and without gaps."""
    found = [
        Migration(int(matched[1]), file.name, file.read_text(encoding="utf-8"))
        for file in files(__name__).iterdir()
        if (matched := _FILE.fullmatch(file.name))
    ]
    return tuple(sorted(found, key=lambda step: step.version))


def preparation(schema: str) -> str:
    """SQL that makes the schema and the table of its versions, if they are not there."""
    return (
        f'CREATE SCHEMA IF NOT EXISTS "{schema}";\n'
        f'CREATE TABLE IF NOT EXISTS "{schema}".migrations '
        "(version integer PRIMARY KEY, applied_at timestamptz NOT NULL DEFAULT now());\n"
    )


def application(schema: str, step: Migration) -> str:
    """SQL that takes one step."""
    return (
        f'SET LOCAL search_path TO "{schema}";\n'
        f"{step.sql.strip()}\n"
        f'INSERT INTO "{schema}".migrations (version) VALUES ({step.version});\n'
    )


def script(schema: str) -> str:
    """The whole schema as SQL for `psql`, for an empty database."""
    steps = [f"-- {step.name}\n{application(schema, step)}" for step in migrations()]
    return "\n".join(["BEGIN;", preparation(schema), *steps, "COMMIT;", ""])


def main() -> None:
    """Print the schema of the name that is given."""
    name = sys.argv[1]
    if not NAME.fullmatch(name):
        sys.exit(f"error: {name!r} is no name of a schema: use 1 to 63 of a-z 0-9 _, a letter first")
    sys.stdout.write(script(name))
