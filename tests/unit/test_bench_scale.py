"""What the benchmarks of scale say about what they found."""

import io

from rich.console import Console

from benchmarks.figures import Machine, spread
from benchmarks.scale.figures import CallFigures, ClusterFigures, LatencyFigures, ProcessFigures, ScaleReport
from benchmarks.scale.report import show
from benchmarks.scale.targets import judge

TIMES = spread([0.01, 0.02])


def report() -> ScaleReport:
    machine = Machine(
        processor="p", cores=2, system="s", python="3", nats_server="2", vagus="0", fsync_p50_ms=0.1
    )
    return ScaleReport(
        started_at="2026-01-01T00:00:00Z",
        took_s=1,
        durability="sync",
        quick=False,
        machine=machine,
        load_before=0,
    )


def calls(kernels: int, calls_per_s: float, *, call_ms: int = 100, slots: int = 2) -> CallFigures:
    ideal = 8 * slots * 1000 / call_ms
    return CallFigures(
        kernels=kernels,
        runners=8,
        slots=slots,
        call_ms=call_ms,
        sessions=48,
        load_before=0,
        calls_per_s=calls_per_s,
        ideal_per_s=ideal,
        share=round(calls_per_s / ideal, 3),
        latency=TIMES,
        cpu_ms_per_call={"kernel": 1.5},
        cores_used=1,
    )


def latency(ratio: float) -> LatencyFigures:
    return LatencyFigures(
        kind="tool",
        few=10,
        many=10_000,
        in_memory=True,
        load_before=0,
        beside_few=TIMES,
        beside_many=TIMES,
        ratio_p50=ratio,
    )


def test_the_share_of_the_ideal_is_judged_by_the_best_number_of_kernels() -> None:
    found = report()
    found.calls = [calls(1, 120), calls(2, 144), calls(1, 100, call_ms=1_000, slots=16)]
    assert [(target.found, target.met) for target in judge(found)] == [(0.9, True), (0.781, False)]


def test_idle_sessions_may_cost_others_a_fifth() -> None:
    found = report()
    found.latency = [latency(1.2), latency(1.21)]
    assert [target.met for target in judge(found)] == [True, False]


def test_a_run_that_measured_nothing_of_a_target_says_nothing_of_it() -> None:
    assert judge(report()) == []


def test_the_limit_of_a_cluster_is_told() -> None:
    found, console = report(), Console(file=io.StringIO(), width=120)
    found.cluster = [
        ClusterFigures(
            sessions=250,
            load_before=0,
            creation=TIMES,
            created_per_s=9,
            tick=TIMES,
            servers=[ProcessFigures(memory_mb=70, descriptors=300)] * 3,
            store_mb=12,
            idle_cores=0.4,
        )
    ]
    found.cluster_limit = "beyond 250 sessions: Unavailable"
    show(found, console)
    assert isinstance(console.file, io.StringIO)
    said = console.file.getvalue()
    assert "limit of the cluster: beyond 250 sessions: Unavailable" in said
    assert "0.40" in said
