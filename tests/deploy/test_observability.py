"""Dashboards, alerts and docs/metrics.md speak of metrics that there are, as Prometheus is shown them."""

import json
import re
import shutil
import subprocess
from collections.abc import Iterator

import pytest
import yaml
from opentelemetry.exporter.prometheus import PrometheusMetricReader
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.trace import TracerProvider
from prometheus_client import REGISTRY

from tests.kit import documents
from tests.kit.documents import ROOT
from vagus.contract.policy import SpanStatus
from vagus.runtime import telemetry

KIT = ROOT / "deploy" / "observability"
SOURCE = (ROOT / "shared/vagus/runtime/telemetry.py").read_text()
PANELS = [
    panel
    for file in sorted((KIT / "dashboards").glob("*.json"))
    for panel in json.loads(file.read_text())["panels"]
    if panel["type"] != "row"
]
TESTS = KIT / "rules.test.yaml"
RULES = yaml.safe_load((KIT / "rules.yaml").read_text())["groups"][0]["rules"]
MUST_KNOW = {
    "vagus_stream_oldest_age_seconds",  # the oldest unacked input
    "vagus_toolrunner_queue_oldest_age_seconds",
    "vagus_kernel_commit_duration_seconds_bucket",
    "vagus_kernel_commit_conflicts_total",
    "vagus_stream_messages",  # dead letters
    "vagus_approver_waiting",
    "vagus_kernel_breaker_trips_total",
    "vagus_kernel_cost_USD_total",
}


def constants(section: str) -> list[str]:
    """The names in a section of telemetry.py."""
    body = re.split(r"\n# (\w+) -+\n", SOURCE)
    text = body[body.index(section) + 1].partition("\nenabled: bool")[0]
    return re.findall(r'^[A-Z_]+: Final = "([\w.]+)"', text, re.MULTILINE)


METRICS = constants("Metrics")


@pytest.fixture(scope="module")
def shown() -> Iterator[tuple[set[str], set[str]]]:
    """What Prometheus is shown when everything has been recorded once: names of samples, and of labels."""
    reader = PrometheusMetricReader()
    metering, tracing = MeterProvider(metric_readers=[reader]), TracerProvider()
    telemetry.join(tracing, metering.get_meter("test"))
    telemetry.record_tokens("m", 1, 1)
    telemetry.record_duration(telemetry.CHAT, 1, "m")
    telemetry.record_tool("t", SpanStatus.OK)
    telemetry.record_budget(1, 1.0)
    telemetry.record_mode("a", "b")
    telemetry.record_late("verdict")
    telemetry.record_commit(0.1)
    telemetry.record_conflict()
    telemetry.record_trip()
    telemetry.record_cost(1.0)
    telemetry.record_dead_letter("kernel")
    telemetry.record_relayed(1)
    telemetry.record_repaired(1)
    labels = (telemetry.POOL, telemetry.PRIORITY, telemetry.STREAM, telemetry.SINK)
    recorded = {metric.name for metric in REGISTRY.collect()}
    gauges = [name for name in METRICS if not any(one.startswith(_under(name)) for one in recorded)]
    with telemetry.observed({name: lambda: [(1.0, dict.fromkeys(labels, "x"))] for name in gauges}):
        samples = [sample for metric in REGISTRY.collect() for sample in metric.samples]
    yield {sample.name for sample in samples}, {label for sample in samples for label in sample.labels}
    telemetry.shut_down()
    metering.shutdown()
    tracing.shutdown()


def _under(name: str) -> str:
    return name.replace(".", "_")


def spoken(expression: str) -> set[str]:
    """The names of ours in a query."""
    without_text = re.sub(r'"[^"]*"', "", expression)
    return set(re.findall(r"\b(?:vagus|life|gen_ai)_\w+", without_text))


def test_every_metric_that_there_is_is_shown(shown: tuple[set[str], set[str]]) -> None:
    for name in METRICS:
        assert any(sample.startswith(_under(name)) for sample in shown[0]), name


def test_dashboards_and_alerts_ask_for_what_is_shown(shown: tuple[set[str], set[str]]) -> None:
    names, labels = shown
    asked = [target["expr"] for panel in PANELS for target in panel["targets"]]
    asked += [rule["expr"] for rule in RULES]
    assert len(asked) > 30
    for expression in asked:
        assert spoken(expression) <= names | labels, expression


@pytest.mark.parametrize("where", ["alerts", "dashboards"])
def test_what_an_operator_must_know_is_told(where: str) -> None:
    asked = {
        "alerts": [rule["expr"] for rule in RULES],
        "dashboards": [target["expr"] for panel in PANELS for target in panel["targets"]],
    }[where]
    assert set().union(*map(spoken, asked)) >= MUST_KNOW


def test_every_alert_says_what_it_is_and_what_to_do() -> None:
    for rule in RULES:
        assert rule["labels"]["severity"] in ("page", "warn", "info")
        assert rule["annotations"]["summary"].endswith(".")
        assert rule["annotations"]["action"].endswith(".")
        assert rule["alert"] in documents.text("docs/metrics.md")


def test_every_metric_is_documented_and_nothing_else() -> None:
    told = re.findall(r"^\| `([\w.]+)` \|", documents.text("docs/metrics.md"), re.MULTILINE)
    assert sorted(told) == sorted(METRICS)


def test_panels_do_not_lie_on_each_other() -> None:
    taken: set[tuple[int, int]] = set()
    for panel in PANELS:
        place = panel["gridPos"]
        mine = {
            (x, y)
            for x in range(place["x"], place["x"] + place["w"])
            for y in range(place["y"], place["y"] + place["h"])
        }
        assert not taken & mine, panel["title"]
        taken |= mine


def test_every_alert_is_raised_in_a_test() -> None:
    raised = {
        expected["alertname"]
        for case in yaml.safe_load(TESTS.read_text())["tests"]
        for expected in case["alert_rule_test"]
        if expected.get("exp_alerts")
    }
    assert raised == {rule["alert"] for rule in RULES}


@pytest.mark.parametrize(
    "arguments",
    [
        ("check", "rules", str(KIT / "rules.yaml")),
        ("check", "config", "--syntax-only", str(KIT / "prometheus.yaml")),
        ("test", "rules", str(TESTS)),
    ],
    ids=["rules", "config", "tests"],
)
def test_prometheus_takes_the_rules_and_raises_alerts_when_it_shall(arguments: tuple[str, ...]) -> None:
    promtool = shutil.which("promtool")
    if promtool is None:
        pytest.skip("promtool is not installed")
    run = subprocess.run([promtool, *arguments], capture_output=True, text=True, timeout=60)
    assert run.returncode == 0, run.stdout + run.stderr
