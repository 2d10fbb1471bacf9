"""Tells what was found: tables on the terminal, a file for later."""

from collections.abc import Iterable, Sequence
from pathlib import Path

import msgspec
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from benchmarks.feed.figures import FeedReport
from benchmarks.figures import Machine, Report, Spread, StepFigures, Target
from benchmarks.scale.figures import ScaleReport


def write(report: Report | ScaleReport | FeedReport, folder: Path, name: str) -> Path:
    """Write the report as `<folder>/<time>-<name>.json`."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{report.started_at.replace(':', '').partition('.')[0]}Z-{name}.json"
    path.write_bytes(msgspec.json.format(msgspec.json.encode(report)) + b"\n")
    return path


def show(report: Report, console: Console) -> None:
    """Print all tables."""
    show_machine(report.machine, report.durability, console)
    tables = (
        _commits(report), steps_table(report.steps), _ticks(report), _cpu(report), _creation(report),
        _activation(report),
    )  # fmt: skip
    show_tables(tables, console)
    show_targets(report.targets, console)


def show_tables(tables: Iterable[Table], console: Console) -> None:
    """Print those that have rows."""
    for table in tables:
        if table.rows:
            console.print(table)


def show_machine(machine: Machine, durability: str, console: Console) -> None:
    """Print where it ran."""
    console.print(
        f"{machine.processor}, {machine.cores} cores, {machine.system}, Python {machine.python}, "
        f"nats-server {machine.nats_server}, fsync {machine.fsync_p50_ms} ms; durability {durability}"
    )


def show_targets(targets: Sequence[Target], console: Console) -> None:
    """Print which were met."""
    for target in targets:
        word = "met    " if target.met else "NOT MET"
        console.print(f"{word} {target.name}: {target.found:g} (wanted {target.wanted})")


def new_table(title: str, *columns: str) -> Table:
    """Of figures: everything to the right."""
    table = Table(title=title, title_justify="left", title_style="bold", box=SIMPLE_HEAD, pad_edge=False)
    for column in columns:
        table.add_column(column, justify="right", no_wrap=True)
    return table


def times_of(times: Spread) -> str:
    """In the middle, and at worst but for one in a hundred."""
    return f"{times.p50_ms:.2f} / {times.p99_ms:.2f}"


def _commits(report: Report) -> Table:
    table = new_table(
        "Commits beside raw publishing of the same bytes (ms: p50 / p99)",
        "events", "bytes", "writers", "commit", "raw", "ratio", "events/s", "raw", "seal", "load",
    )  # fmt: skip
    for row in report.commits:
        table.add_row(
            str(row.events), str(row.payload_bytes), str(row.writers),
            times_of(row.commit), times_of(row.raw),
            f"{row.ratio_p50:.2f}", f"{row.events_per_s:,.0f}", f"{row.raw_events_per_s:,.0f}",
            f"{row.seal.p50_ms:.3f}", f"{row.load_before:.1f}",
        )  # fmt: skip
    return table


def steps_table(steps: Sequence[StepFigures]) -> Table:
    """The yardstick."""
    table = new_table(
        "A durable step made by hand (ms: p50 / p99)",
        "sessions", "latency", "steps/s", "load",
    )  # fmt: skip
    for row in steps:
        table.add_row(
            str(row.sessions), times_of(row.latency), f"{row.steps_per_s:.0f}", f"{row.load_before:.1f}"
        )
    return table


def _ticks(report: Report) -> Table:
    table = new_table(
        "Ticks (ms: p50 / p99)", "kind", "sessions", "latency", "ticks/s", "events/tick", "load"
    )
    for row in report.ticks:
        table.add_row(
            row.kind, str(row.sessions), times_of(row.latency), f"{row.ticks_per_s:.0f}",
            f"{row.events_per_tick:g}", f"{row.load_before:.1f}",
        )  # fmt: skip
    return table


def _cpu(report: Report) -> Table:
    names = sorted({name for row in report.ticks for name in row.cpu_ms_per_tick})
    table = new_table("Processor time of a tick (ms)", "kind", "sessions", *names, "ours")
    for row in report.ticks:
        used = [f"{row.cpu_ms_per_tick.get(name, 0):.2f}" for name in names]
        table.add_row(row.kind, str(row.sessions), *used, f"{row.own_cpu_ms_per_tick:.2f}")
    return table


def _creation(report: Report) -> Table:
    table = new_table("Creating sessions (ms: p50 / p99)", "at a time", "latency", "sessions/s", "load")
    for row in report.creation:
        table.add_row(
            str(row.concurrency), times_of(row.latency), f"{row.sessions_per_s:.0f}", f"{row.load_before:.1f}"
        )
    return table


def _activation(report: Report) -> Table:
    table = new_table(
        "First tick in a new kernel (ms: p50 / p99)",
        "events", "first", "warm", "first without snapshot", "archive, restore (s)", "load",
    )  # fmt: skip
    for row in report.activation:
        table.add_row(
            f"{row.events:,}",
            times_of(row.first),
            times_of(row.warm),
            times_of(row.replay),
            "" if row.archive_s is None else f"{row.archive_s:.1f}, {row.restore_s:.1f}",
            f"{row.load_before:.1f}",
        )
    return table
