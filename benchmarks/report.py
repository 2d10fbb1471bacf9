"""Tells what was found: tables on the terminal, a file for later."""

from pathlib import Path

import msgspec
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from benchmarks.figures import Report, Spread


def write(report: Report, folder: Path) -> Path:
    """Write the report as `<folder>/<time>.json`."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{report.started_at.replace(':', '').partition('.')[0]}Z-{report.durability}.json"
    path.write_bytes(msgspec.json.format(msgspec.json.encode(report)) + b"\n")
    return path


def show(report: Report, console: Console) -> None:
    """Print all tables."""
    machine = report.machine
    console.print(
        f"{machine.processor}, {machine.cores} cores, {machine.system}, Python {machine.python}, "
        f"nats-server {machine.nats_server}, fsync {machine.fsync_p50_ms} ms; durability {report.durability}"
    )
    for make in (_commits, _steps, _ticks, _cpu, _creation, _activation):
        if (table := make(report)).rows:
            console.print(table)
    for target in report.targets:
        word = "met    " if target.met else "NOT MET"
        console.print(f"{word} {target.name}: {target.found:g} (wanted {target.wanted})")


def _table(title: str, *columns: str) -> Table:
    table = Table(title=title, title_justify="left", title_style="bold", box=SIMPLE_HEAD, pad_edge=False)
    for column in columns:
        table.add_column(column, justify="right", no_wrap=True)
    return table


def _times(times: Spread) -> str:
    return f"{times.p50_ms:.2f} / {times.p99_ms:.2f}"


def _commits(report: Report) -> Table:
    table = _table(
        "Commits beside raw publishing of the same bytes (ms: p50 / p99)",
        "events", "bytes", "writers", "commit", "raw", "ratio", "events/s", "raw", "seal", "load",
    )  # fmt: skip
    for row in report.commits:
        table.add_row(
            str(row.events), str(row.payload_bytes), str(row.writers), _times(row.commit), _times(row.raw),
            f"{row.ratio_p50:.2f}", f"{row.events_per_s:,.0f}", f"{row.raw_events_per_s:,.0f}",
            f"{row.seal.p50_ms:.3f}", f"{row.load_before:.1f}",
        )  # fmt: skip
    return table


def _steps(report: Report) -> Table:
    table = _table(
        "A durable step made by hand (ms: p50 / p99)",
        "sessions", "latency", "steps/s", "load",
    )  # fmt: skip
    for row in report.steps:
        table.add_row(
            str(row.sessions), _times(row.latency), f"{row.steps_per_s:.0f}", f"{row.load_before:.1f}"
        )
    return table


def _ticks(report: Report) -> Table:
    table = _table("Ticks (ms: p50 / p99)", "kind", "sessions", "latency", "ticks/s", "events/tick", "load")
    for row in report.ticks:
        table.add_row(
            row.kind, str(row.sessions), _times(row.latency), f"{row.ticks_per_s:.0f}",
            f"{row.events_per_tick:g}", f"{row.load_before:.1f}",
        )  # fmt: skip
    return table


def _cpu(report: Report) -> Table:
    names = sorted({name for row in report.ticks for name in row.cpu_ms_per_tick})
    table = _table("Processor time of a tick (ms)", "kind", "sessions", *names, "ours")
    for row in report.ticks:
        used = [f"{row.cpu_ms_per_tick.get(name, 0):.2f}" for name in names]
        table.add_row(row.kind, str(row.sessions), *used, f"{row.own_cpu_ms_per_tick:.2f}")
    return table


def _creation(report: Report) -> Table:
    table = _table("Creating sessions (ms: p50 / p99)", "at a time", "latency", "sessions/s", "load")
    for row in report.creation:
        table.add_row(
            str(row.concurrency), _times(row.latency), f"{row.sessions_per_s:.0f}", f"{row.load_before:.1f}"
        )
    return table


def _activation(report: Report) -> Table:
    table = _table(
        "First tick in a new kernel (ms: p50 / p99)",
        "events", "first", "warm", "first without snapshot", "load",
    )  # fmt: skip
    for row in report.activation:
        table.add_row(
            f"{row.events:,}",
            _times(row.first),
            _times(row.warm),
            _times(row.replay),
            f"{row.load_before:.1f}",
        )
    return table
