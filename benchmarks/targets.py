"""What was to be reached, on two cores with the embedded server."""

from benchmarks.figures import Report, Target

TICK_P50_MS = {"sync": 7.0, "fast": 5.0}
TICKS_PER_S = {"sync": 200.0, "fast": 300.0}
OWN_CPU_MS = 4.0
COMMIT_RATIO = 1.5
ACTIVATION_RATIO = 2.0


def judge(report: Report) -> list[Target]:
    """Every target that the run can speak of."""
    found: list[Target] = []
    for row in report.ticks:
        if (row.kind, row.sessions) == ("tool", 1):
            found += [
                at_most("tool tick p50, 1 session, ms", row.latency.p50_ms, TICK_P50_MS[report.durability]),
                at_most(
                    "our processor time per tool tick, 1 session, ms", row.own_cpu_ms_per_tick, OWN_CPU_MS
                ),
            ]
        elif row.kind == "tool":
            wanted = TICKS_PER_S[report.durability]
            found += [
                Target(
                    name=f"tool ticks/s, {row.sessions} sessions",
                    wanted=f"≥ {wanted:g}",
                    found=row.ticks_per_s,
                    met=row.ticks_per_s >= wanted,
                ),
                at_most(
                    f"our processor time per tool tick, {row.sessions} sessions, ms",
                    row.own_cpu_ms_per_tick,
                    OWN_CPU_MS,
                ),
            ]
    for commit in report.commits:
        if (commit.events, commit.writers) == (23, 1):
            found.append(
                at_most("commit of 23 events to one raw publish, p50", commit.ratio_p50, COMMIT_RATIO)
            )
    if len(report.activation) > 1:
        shortest, longest = report.activation[0], report.activation[-1]
        name = f"activation of {longest.events:,} events to one of {shortest.events:,}, p50"
        found.append(at_most(name, round(longest.first.p50_ms / shortest.first.p50_ms, 2), ACTIVATION_RATIO))
    return found


def at_most(name: str, found: float, bound: float) -> Target:
    """The target that a figure stays within a bound."""
    return Target(name=name, wanted=f"≤ {bound:g}", found=found, met=found <= bound)
