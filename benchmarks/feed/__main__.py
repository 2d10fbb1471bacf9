"""`python -m benchmarks.feed --help`."""

import argparse
import logging
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from time import perf_counter
from typing import cast

import anyio
import msgspec
from rich.console import Console
from rich.table import Table

from benchmarks.feed import cost, measure
from benchmarks.feed.figures import FeedReport
from benchmarks.figures import percentile
from benchmarks.machine import describe, load
from benchmarks.report import new_table, show_machine, show_tables, times_of, write
from vagus.runtime import clock
from vagus.runtime.embedded import Durability

PARTS = ("lag", "catch-up", "audience", "cost")
RESULTS = Path(__file__).parents[1] / "results"


def main() -> None:
    """Measure, print, write."""
    options = _options()
    logging.basicConfig(level=logging.WARNING, format="%(name)s: %(message)s")
    console = Console(width=None if sys.stdout.isatty() else 120, highlight=False)
    if load() > 0.5:
        console.print(f"[yellow]the machine is busy (load {load()}): figures will be worse[/]")
    durability = cast("Durability", options.durability)
    report = anyio.run(_measure, durability, options.quick, tuple(options.only or PARTS))
    show_machine(report.machine, report.durability, console)
    show_tables((_lag(report), _catch_up(report), _audience(report), _cost(report)), console)
    path = write(report, options.results, f"feed-{report.durability}")
    console.print(f"took {report.took_s:.0f} s; written to {path}")


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.feed", description="Measure the firehose, and every way to read it."
    )
    parser.add_argument("--durability", choices=("sync", "fast"), default="sync", help="of the server")
    parser.add_argument("--quick", action="store_true", help="as little as possible: to see that it runs")
    parser.add_argument("--only", action="append", choices=PARTS, help="this part; repeat for more")
    parser.add_argument("--results", type=Path, default=RESULTS, help="folder for the JSON file")
    return parser.parse_args()


async def _measure(durability: Durability, quick: bool, parts: Sequence[str]) -> FeedReport:
    began = perf_counter()
    with tempfile.TemporaryDirectory(prefix="vagus-bench-", ignore_cleanup_errors=True) as name:
        folder = Path(name)
        report = FeedReport(
            started_at=clock.now(), took_s=0, durability=durability, quick=quick, machine=describe(folder)
        )

        for part in PARTS:
            (folder / part).mkdir()
        if "lag" in parts:
            report.lag.extend(await measure.lag(folder / "lag", durability, quick=quick))
        if "catch-up" in parts:
            report.catch_up.extend(await measure.catch_up(folder / "catch-up", durability, quick=quick))
        if "audience" in parts:
            report.audience.extend(await measure.audience(folder / "audience", durability, quick=quick))
        if "cost" in parts:
            report.cost.extend(await cost.measure(folder / "cost", durability, quick=quick))
    return msgspec.structs.replace(report, took_s=round(perf_counter() - began, 1))


def _lag(report: FeedReport) -> Table:
    table = new_table("Lag (ms: p50 / p99)", "way", "events/s", "lag", "load")
    for row in report.lag:
        table.add_row(row.way, f"{row.committed_per_s:,.0f}", times_of(row.lag), f"{row.load_before:.1f}")
    return table


def _catch_up(report: FeedReport) -> Table:
    table = new_table("Catching up", "way", "events", "took", "events/s", "load")
    for row in report.catch_up:
        table.add_row(
            row.way, f"{row.events:,}", f"{row.took_s:.1f} s", f"{row.events_per_s:,.0f}",
            f"{row.load_before:.1f}",
        )  # fmt: skip
    return table


def _audience(report: FeedReport) -> Table:
    table = new_table(
        "Many subscribers (ms: p50 / p99)", "subscribers", "events/s", "delivered/s", "lag", "load"
    )
    for row in report.audience:
        table.add_row(
            str(row.subscribers), f"{row.committed_per_s:,.0f}", f"{row.delivered_per_s:,.0f}",
            times_of(row.lag), f"{row.load_before:.1f}",
        )  # fmt: skip
    return table


def _cost(report: FeedReport) -> Table:
    table = new_table(
        "Text ticks while somebody reads (ms: p50 / p99)",
        "readers", "ticks", "latency", "kernel", "to nobody: quartiles", "load",
    )  # fmt: skip
    for row in report.cost:
        table.add_row(
            row.what, str(row.ticks), times_of(row.latency), f"{row.kernel_ms_per_tick:.2f}",
            _quartiles(row.kernel_to_nobody), f"{row.load_before:.1f}",
        )  # fmt: skip
    return table


def _quartiles(ratios: Sequence[float]) -> str:
    ordered = sorted(ratios)
    return " ".join(f"{percentile(ordered, percent):.2f}" for percent in (25, 50, 75))


if __name__ == "__main__":
    main()
