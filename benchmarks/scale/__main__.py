"""`python -m benchmarks.scale --help`."""

import argparse
import logging
import sys
import tempfile
from pathlib import Path
from time import perf_counter
from typing import cast

import anyio
from rich.console import Console

from benchmarks import yardstick
from benchmarks.figures import StepFigures
from benchmarks.machine import describe, load
from benchmarks.report import write
from benchmarks.scale import cluster, runners, sessions
from benchmarks.scale.figures import ScaleReport
from benchmarks.scale.report import show
from benchmarks.scale.targets import judge
from vagus.runtime import clock
from vagus.runtime.embedded import Durability, EmbeddedServer

PARTS = ("runners", "sessions", "latency", "cluster")
SESSIONS, SESSIONS_QUICK = 10_000, 30
CLUSTER_SESSIONS = 5_000
RESULTS = Path(__file__).parents[1] / "results"


def main() -> None:
    """Measure, print, write."""
    options = _options()
    logging.basicConfig(level=logging.WARNING, format="%(name)s: %(message)s")
    console = Console(width=None if sys.stdout.isatty() else 120, highlight=False)
    if load() > 0.5:
        console.print(
            f"[yellow]the machine is busy (load {load()}): figures will be worse than they could be[/]"
        )
    with tempfile.TemporaryDirectory(prefix="vagus-bench-") as name:
        machine = describe(Path(name))
    report = ScaleReport(
        started_at=clock.now(),
        took_s=0,
        durability=options.durability,
        quick=options.quick,
        machine=machine,
        load_before=load(),
    )
    began = perf_counter()
    try:
        anyio.run(_measure, report, options)
    finally:  # what was found until something broke is not lost
        report.targets = judge(report)
        report.took_s = round(perf_counter() - began, 1)
        show(report, console)
        path = write(report, options.results, f"scale-{report.durability}")
        console.print(f"took {report.took_s:.0f} s; written to {path}")


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.scale",
        description="Measure how far one machine goes: some forty minutes, 2 GB of memory and 3 of disk.",
    )
    parser.add_argument(
        "--durability", choices=("sync", "fast"), default="sync", help="of the embedded server"
    )
    parser.add_argument("--quick", action="store_true", help="as little as possible: to see that it runs")
    parser.add_argument("--only", action="append", choices=PARTS, help="this part; repeat for more")
    parser.add_argument("--sessions", type=int, help=f"on one server; {SESSIONS} if not told")
    parser.add_argument(
        "--cluster-sessions", type=int, default=CLUSTER_SESSIONS, help="at most, on three; %(default)s"
    )
    parser.add_argument("--results", type=Path, default=RESULTS, help="folder for the JSON file")
    return parser.parse_args()


async def _measure(report: ScaleReport, options: argparse.Namespace) -> None:
    durability = cast("Durability", report.durability)
    parts = tuple(options.only or PARTS)
    if not report.quick:
        report.steps.extend(await _steps(durability))
    if "runners" in parts:
        await runners.measure(report, durability)
    if {"sessions", "latency"} & set(parts):
        count = options.sessions or (SESSIONS_QUICK if report.quick else SESSIONS)
        await sessions.measure(report, parts, durability, count=count)
    if "cluster" in parts:
        await cluster.measure(report, durability, most=options.cluster_sessions)
    if not report.quick:
        report.steps.extend(await _steps(durability))


async def _steps(durability: Durability) -> list[StepFigures]:
    """The yardstick, on a server of its own."""
    with tempfile.TemporaryDirectory(prefix="vagus-bench-", ignore_cleanup_errors=True) as name:
        async with EmbeddedServer(Path(name), durability=durability) as server:
            return await yardstick.measure(server.url, quick=False)


if __name__ == "__main__":
    main()
