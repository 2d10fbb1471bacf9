"""`python -m benchmarks --help`."""

import argparse
import logging
import sys
import tempfile
from pathlib import Path
from time import perf_counter
from typing import cast

import anyio
import msgspec
from rich.console import Console

from benchmarks import activation, commits, creation, ticks, yardstick
from benchmarks.figures import Report
from benchmarks.installation import installation
from benchmarks.machine import describe, load
from benchmarks.report import show, write
from benchmarks.targets import judge
from vagus.runtime import clock
from vagus.runtime.embedded import Durability

SECTIONS = ("commits", "ticks", "creation", "activation")
RESULTS = Path(__file__).with_name("results")


def main() -> None:
    """Measure, print, write."""
    options = _options()
    logging.basicConfig(level=logging.WARNING, format="%(name)s: %(message)s")
    console = Console(width=None if sys.stdout.isatty() else 120, highlight=False)
    if load() > 0.5:
        console.print(
            f"[yellow]the machine is busy (load {load()}): figures will be worse than they could be[/]"
        )
    report = anyio.run(
        _measure, options.durability, options.quick, options.long, tuple(options.only or SECTIONS)
    )
    show(report, console)
    console.print(
        f"took {report.took_s:.0f} s; written to {write(report, options.results, report.durability)}"
    )


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks", description="Measure Vagus on this machine."
    )
    parser.add_argument(
        "--durability", choices=("sync", "fast"), default="sync", help="of the embedded server"
    )
    parser.add_argument("--quick", action="store_true", help="a tenth of the work: to see that it runs")
    parser.add_argument(
        "--long", action="store_true", help="a log of a million events too, archived and restored: minutes"
    )
    parser.add_argument("--only", action="append", choices=SECTIONS, help="this section; repeat for more")
    parser.add_argument("--results", type=Path, default=RESULTS, help="folder for the JSON file")
    return parser.parse_args()


async def _measure(durability: str, quick: bool, long: bool, only: tuple[str, ...]) -> Report:
    durable = cast("Durability", durability)
    began, started_at = perf_counter(), clock.now()
    with tempfile.TemporaryDirectory(prefix="vagus-bench-", ignore_cleanup_errors=True) as name:
        folder = Path(name)
        report = Report(
            started_at=started_at, took_s=0, durability=durability, quick=quick, machine=describe(folder)
        )
        if "commits" in only:
            report = _with(report, commits=await commits.measure(folder, durable, quick=quick))
        if {"ticks", "creation", "activation"} & set(only):
            async with installation(folder, durable) as system:
                if "ticks" in only:
                    before = await yardstick.measure(system.url, quick=quick)
                    report = _with(report, ticks=await ticks.measure(system, quick=quick))
                    report = _with(report, steps=before + await yardstick.measure(system.url, quick=quick))
                if "creation" in only:
                    report = _with(report, creation=await creation.measure(system, quick=quick))
                if "activation" in only:
                    report = _with(
                        report, activation=await activation.measure(system, quick=quick, long=long)
                    )
    return _with(report, targets=judge(report), took_s=round(perf_counter() - began, 1))


def _with(report: Report, **found: object) -> Report:
    return msgspec.structs.replace(report, **found)


if __name__ == "__main__":
    main()
