"""Tells what was found: tables on the terminal."""

from rich.console import Console
from rich.table import Table

from benchmarks.report import new_table, show_machine, show_tables, show_targets, steps_table, times_of
from benchmarks.scale.figures import ProcessFigures, ScaleReport


def show(report: ScaleReport, console: Console) -> None:
    """Print all tables."""
    show_machine(report.machine, report.durability, console)
    makers = (_calls, _cpu, _growth, _census, _restarts, _latency, _cluster)
    show_tables([steps_table(report.steps), *(make(report) for make in makers)], console)
    if report.cluster_limit:
        console.print(f"limit of the cluster: {report.cluster_limit}")
    show_targets(report.targets, console)


def _calls(report: ScaleReport) -> Table:
    table = new_table(
        "Tool calls (ms: p50 / p99)",
        "kernels", "runners", "slots", "call", "sessions", "calls/s", "ideal", "share", "latency", "cores",
        "load",
    )  # fmt: skip
    for row in report.calls:
        table.add_row(
            str(row.kernels), str(row.runners), str(row.slots), f"{row.call_ms} ms", str(row.sessions),
            f"{row.calls_per_s:.1f}",
            "" if row.ideal_per_s is None else f"{row.ideal_per_s:.0f}",
            "" if row.share is None else f"{row.share:.2f}",
            times_of(row.latency), f"{row.cores_used:.2f}", f"{row.load_before:.1f}",
        )  # fmt: skip
    return table


def _cpu(report: ScaleReport) -> Table:
    names = sorted({name for row in report.calls for name in row.cpu_ms_per_call})
    table = new_table("Processor time of a call (ms)", "kernels", "runners", "call", *names)
    for row in report.calls:
        used = [f"{row.cpu_ms_per_call.get(name, 0):.2f}" for name in names]
        table.add_row(str(row.kernels), str(row.runners), f"{row.call_ms} ms", *used)
    return table


def _growth(report: ScaleReport) -> Table:
    table = new_table(
        "More and more sessions (ms: p50 / p99)",
        "there", "more", "creation", "created/s", "first tick", "ticks/s", "kernel", "nats-server", "load",
    )  # fmt: skip
    for row in report.growth:
        table.add_row(
            f"{row.sessions_before:,}", f"{row.count:,}", times_of(row.creation), f"{row.created_per_s:.0f}",
            times_of(row.tick), f"{row.ticks_per_s:.0f}",
            f"{row.cpu_ms_per_creation.get('kernel', 0):.2f}",
            f"{row.cpu_ms_per_creation.get('nats-server', 0):.2f}", f"{row.load_before:.1f}",
        )  # fmt: skip
    return table


def _census(report: ScaleReport) -> Table:
    table = new_table(
        "What it takes (MB, open descriptors, cores used by nobody's asking)",
        "", "sessions", "server", "fds", "cores", "kernel", "fds", "cores", "store", "workspaces", "load",
    )  # fmt: skip
    for row in report.census:
        table.add_row(
            row.when, f"{row.sessions:,}", *_process(row.nats_server), f"{row.idle_cores['nats-server']:.3f}",
            *_process(row.kernel), f"{row.idle_cores['kernel']:.3f}", f"{row.store_mb:.0f}",
            f"{row.workspaces_mb:.0f}", f"{row.load_before:.1f}",
        )  # fmt: skip
    return table


def _process(process: ProcessFigures) -> tuple[str, str]:
    return f"{process.memory_mb:.0f}", f"{process.descriptors:,}"


def _restarts(report: ScaleReport) -> Table:
    table = new_table(
        "Restarts (s)", "", "sessions", "end", "start to ready", "signal to the ends of ticks", "load"
    )
    for row in report.restarts:
        table.add_row(
            row.what, f"{row.sessions:,}", f"{row.ended_s:.2f}", f"{row.ready_s:.2f}", f"{row.tick_s:.2f}",
            f"{row.load_before:.1f}",
        )  # fmt: skip
    return table


def _latency(report: ScaleReport) -> Table:
    table = new_table(
        "Ticks beside few and many idle sessions (ms: p50 / p99)",
        "kind", "few", "many", "in memory", "beside few", "beside many", "ratio", "load",
    )  # fmt: skip
    for row in report.latency:
        table.add_row(
            row.kind, str(row.few), f"{row.many:,}", "yes" if row.in_memory else "no",
            times_of(row.beside_few), times_of(row.beside_many), f"{row.ratio_p50:.2f}",
            f"{row.load_before:.1f}",
        )  # fmt: skip
    return table


def _cluster(report: ScaleReport) -> Table:
    table = new_table(
        "Sessions on three servers of this machine (ms: p50 / p99)",
        "sessions", "creation", "created/s", "tick", "MB of a server", "fds", "store MB", "idle cores",
        "load",
    )  # fmt: skip
    for row in report.cluster:
        memory = max(server.memory_mb for server in row.servers)
        descriptors = max(server.descriptors for server in row.servers)
        table.add_row(
            f"{row.sessions:,}", times_of(row.creation), f"{row.created_per_s:.0f}", times_of(row.tick),
            f"{memory:.0f}", f"{descriptors:,}", f"{row.store_mb:.0f}", f"{row.idle_cores:.2f}",
            f"{row.load_before:.1f}",
        )  # fmt: skip
    return table
