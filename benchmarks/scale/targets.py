"""What was to be reached, on two cores with everything on one machine."""

from typing import Final

from benchmarks.figures import Target
from benchmarks.scale.figures import ScaleReport
from benchmarks.targets import at_most

SHARE: Final = 0.9
CALLS: Final = ((8, 2, 100), (8, 16, 1_000))
"""Runners, slots of each, and milliseconds of a call."""
LATENCY_RATIO: Final = 1.2


def judge(report: ScaleReport) -> list[Target]:
    """Every target that the run can speak of: of several rows the best, since kernels are not to be few."""
    found: list[Target] = []
    for runners, slots, call_ms in CALLS:
        rows = [
            row for row in report.calls if (row.runners, row.slots, row.call_ms) == (runners, slots, call_ms)
        ]
        shares = [row.share for row in rows if row.share is not None]
        if shares:
            name = f"calls of {call_ms} ms, {runners} runners of {slots} slots, share of the ideal"
            met = max(shares) >= SHARE
            found.append(Target(name=name, wanted=f"≥ {SHARE:g}", found=max(shares), met=met))
    for latency in report.latency:
        where = "in memory" if latency.in_memory else "not in memory"
        name = f"{latency.kind} tick beside {latency.many:,} idle sessions ({where}) to {latency.few}, p50"
        found.append(at_most(name, latency.ratio_p50, LATENCY_RATIO))
    return found
