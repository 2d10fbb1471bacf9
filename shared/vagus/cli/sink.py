"""`vagus sink`: events into other systems, carried by a process in the foreground."""

import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated
from urllib.parse import urlsplit

import msgspec
import typer

from vagus.cli.options import SERVER, Server

app = typer.Typer(no_args_is_help=True, help="Carry events into other systems.")

DSN = "VAGUS_SINK_DSN"


@app.command("run")
def run(
    file: Annotated[
        Path, typer.Argument(metavar="FILE", help="TOML or JSON file of sinks.", exists=True, dir_okay=False)
    ],
    server: Server = SERVER,
) -> None:
    """Run all sinks of a file, until Ctrl-C: webhooks, NDJSON and Parquet files, PostgreSQL, your own.

    What a sink has done is kept under its name, so that it goes on where it was.
    """
    _become("vagus_relay.sinks", environ={"VAGUS_SINKS": str(file), "VAGUS_SERVER": server})


@app.command("postgres")
def postgres(
    dsn: Annotated[
        str,
        typer.Option(
            "--dsn",
            envvar=DSN,
            show_envvar=False,
            metavar="URL",
            help=f"postgresql://user@host:5432/database, here without a password: give that by PGPASSWORD or "
            f"~/.pgpass, or the whole URL in {DSN}.",
        ),
    ] = "",
    name: Annotated[str, typer.Option("--name", metavar="NAME", help="Its progress is kept under this.")] = (
        "postgres"
    ),
    schema: Annotated[
        str, typer.Option("--schema", metavar="NAME", help="Where tables and views are.")
    ] = "vagus",
    migrate: Annotated[
        bool, typer.Option("--migrate/--no-migrate", help="Make tables and views, or bring them up to date.")
    ] = True,
    print_schema: Annotated[
        bool, typer.Option("--print-schema", help="Print the SQL of tables and views, and end.")
    ] = False,
    server: Server = SERVER,
) -> None:
    """Keep every event of every session as a row of a PostgreSQL table, each once, until Ctrl-C.

    Views answer: sessions by mode, cost and tokens by owner and day, tool latencies, denied calls, approvals
    that wait.
    """
    if print_schema:
        _become("vagus_relay.sinks.schema", schema)
    if not dsn:
        raise typer.BadParameter(f"give --dsn, or set {DSN}")
    if os.environ.get(DSN) != dsn and _has_password(dsn):
        raise typer.BadParameter(
            f"everybody on this machine can read a password there: set PGPASSWORD or {DSN} instead"
        )
    sink = {"type": "postgres", "dsn": {"env": DSN}, "schema": schema, "migrate": migrate}
    sinks = msgspec.json.encode({"sinks": {name: sink}}).decode()
    _become("vagus_relay.sinks", environ={"VAGUS_SINKS": sinks, "VAGUS_SERVER": server, DSN: dsn})


def _has_password(dsn: str) -> bool:
    try:
        return urlsplit(dsn).password is not None or "password" in dsn
    except ValueError:
        return False


def _become(module: str, *arguments: str, environ: Mapping[str, str] | None = None) -> None:
    """Go on as that program: signals reach it, and its exit code is ours."""
    sys.stdout.flush()
    command = [sys.executable, "-m", module, *arguments]
    os.execve(sys.executable, command, {**os.environ, **(environ or {})})  # noqa: S606 -- no shell wanted
