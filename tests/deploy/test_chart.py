"""The Helm chart: its manifests are valid, as they were reviewed, and hold to what was decided."""

import json
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml
from jsonschema import Draft7Validator, ValidationError

from tests.deploy.chart import CASES, CHART, GOLDEN, KEY, RULES, helm, rendered, staged, users
from vagus_relay.sinks.configuration import WebhookSink, read_sinks
from vagus_relay.sinks.secret import Secret

KUBERNETES = "1.33"
CUSTOM = {"ScaledObject", "ServiceMonitor", "PrometheusRule"}
"""Of operators; their schemas are not Kubernetes' own."""
ANEW = "write it anew and look at what changed: python -m tests.deploy.chart"
PROCESSES = {"kernel", "policygate", "approver", "relay", "toolrunner-default"}


@cache
def golden(name: str) -> tuple[dict[str, Any], ...]:
    text = (GOLDEN / f"{name}.yaml").read_text()
    return tuple(found for found in yaml.load_all(text, yaml.CSafeLoader) if found)


def of(name: str, kind: str) -> Iterator[dict[str, Any]]:
    return (found for found in golden(name) if found["kind"] == kind)


def pod(deployment: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = deployment["spec"]["template"]["spec"]
    return found


def environment(deployment: dict[str, Any]) -> dict[str, str]:
    return {
        entry["name"]: entry.get("value", "") for entry in pod(deployment)["containers"][0].get("env", [])
    }


@pytest.fixture(scope="module")
def chart() -> Iterator[Path]:
    if helm() is None:
        pytest.skip("helm is not installed: the goldens are checked, but not whether the chart gives them")
    with staged() as found:
        yield found


@pytest.mark.parametrize("name", CASES)
def test_the_chart_gives_what_was_reviewed(chart: Path, name: str) -> None:
    assert rendered(chart, CASES[name]) == (GOLDEN / f"{name}.yaml").read_text(), ANEW


def test_every_manifest_is_valid() -> None:
    seen = {json.dumps(found, sort_keys=True): found for name in CASES for found in golden(name)}
    for manifest in seen.values():  # each once: reading a schema takes its time
        if manifest["kind"] not in CUSTOM:
            kubernetes_validate.validate(manifest, KUBERNETES, strict=True)


@pytest.mark.parametrize("values", CASES.values(), ids=CASES)
def test_the_values_are_described(values: dict[str, Any]) -> None:
    validator = Draft7Validator(json.loads((CHART / "values.schema.json").read_text()))
    defaults = yaml.safe_load((CHART / "values.yaml").read_text())
    validator.validate(defaults | {"grantPublicKeys": [KEY]})
    with pytest.raises(ValidationError, match="unexpected"):
        validator.validate(defaults | values | {"kernels": 3})


def test_without_a_key_to_check_grants_with_nothing_is_installed(chart: Path) -> None:
    with pytest.raises(AssertionError, match="grantPublicKeys"):
        rendered(chart, {})


def test_every_process_is_there_more_than_once_spread_and_protected() -> None:
    deployments = {found["metadata"]["name"]: found for found in of("default", "Deployment")}
    assert set(deployments) == {f"vagus-{name}" for name in PROCESSES}
    budgets = {found["metadata"]["name"] for found in of("default", "PodDisruptionBudget")}
    assert budgets == set(deployments)
    for found in deployments.values():
        assert found["spec"]["replicas"] >= 2
        assert len(pod(found)["topologySpreadConstraints"]) == 2


@pytest.mark.parametrize("name", CASES)
def test_every_container_is_nobodys_and_cannot_write(name: str) -> None:
    for found in (*of(name, "Deployment"), *of(name, "Job")):
        assert pod(found)["securityContext"]["runAsNonRoot"] is True
        assert pod(found)["automountServiceAccountToken"] is False
        for container in pod(found)["containers"]:
            assert container["securityContext"]["readOnlyRootFilesystem"] is True
            assert container["securityContext"]["capabilities"] == {"drop": ["ALL"]}
            assert container["resources"]["limits"]["memory"]


@pytest.mark.parametrize("name", CASES)
def test_a_pod_lives_longer_than_its_process_takes_to_drain(name: str) -> None:
    for found in of(name, "Deployment"):
        if grace := environment(found).get("VAGUS_STOP_GRACE_S"):
            assert pod(found)["terminationGracePeriodSeconds"] == int(grace) + 10


def test_each_pod_has_the_key_of_its_own_user_and_only_gates_sign() -> None:
    for found in of("default", "Deployment"):
        secrets = {
            volume["secret"]["secretName"]: volume["secret"].get("items")
            for volume in pod(found)["volumes"]
            if "secret" in volume
        }
        user = pod(found)["containers"][0]["name"]
        assert secrets["vagus-nkeys"] == [{"key": f"{user}.nk", "path": f"{user}.nk"}]
        assert environment(found)["VAGUS_INBOX_PREFIX"] == f"_INBOX_{user}"
        assert environment(found)["VAGUS_PROVISION"] == "false"
        assert ("vagus-grant" in secrets) == (user == "policygate")


def test_sinks_are_told_what_they_carry_and_where_their_secrets_are() -> None:
    (sink,) = [f for f in of("everything", "Deployment") if pod(f)["containers"][0]["name"] == "sink"]
    found = read_sinks(environment(sink)["VAGUS_SINKS"])
    assert found == {
        "audit": WebhookSink(url="https://example.org/hooks", secrets=(Secret(env="AUDIT_SECRET"),))
    }
    assert pod(sink)["containers"][0]["image"].endswith("vagus-sink:1.2.3")


def test_each_pool_is_scaled_by_what_waits_for_it() -> None:
    scaled = {found["spec"]["scaleTargetRef"]["name"]: found for found in of("everything", "ScaledObject")}
    assert set(scaled) == {"vagus-toolrunner-default", "vagus-toolrunner-gpu"}
    gpu = [trigger["metadata"] for trigger in scaled["vagus-toolrunner-gpu"]["spec"]["triggers"]]
    assert [found["consumer"] for found in gpu] == ["pool-gpu-high", "pool-gpu-normal", "pool-gpu-low"]
    assert {(found["stream"], found["account"], found["lagThreshold"]) for found in gpu} == {
        ("ACME_TOOLS", "VAGUS", "1")
    }
    deployed = {found["metadata"]["name"]: found for found in of("everything", "Deployment")}
    assert "replicas" not in deployed["vagus-toolrunner-gpu"]["spec"]


def test_nobody_may_speak_to_a_process() -> None:
    policies = {found["metadata"]["name"]: found["spec"] for found in of("default", "NetworkPolicy")}
    assert policies["vagus-processes"]["ingress"] == []
    assert policies["vagus-processes"]["policyTypes"] == ["Ingress", "Egress"]
    assert [rule["ports"][0]["port"] for rule in policies["vagus-nats"]["ingress"]] == [6222, 4222, 8222]


def test_the_users_of_nats_are_those_of_the_permissions() -> None:
    values = yaml.safe_load((CHART / "values.yaml").read_text())["nats"]
    assert values["config"]["merge"]["accounts"]["VAGUS"]["users"] == users(), ANEW
    assert {f"<< ${name} >>" for name in values["container"]["env"]} == {user["nkey"] for user in users()}


def test_the_chart_carries_the_rules_as_they_are() -> None:
    assert (CHART / "files" / "rules.yaml").read_bytes() == RULES.read_bytes(), ANEW
