"""The Helm chart as it is rendered for a few values.

`python -m tests.deploy.chart` writes anew what is kept of it: the goldens, the users of NATS in values.yaml,
and the chart's copy of the alert rules. Needs `helm`.
"""

import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import yaml

from tests.kit.documents import ROOT
from vagus.contract.permissions import permissions
from vagus.contract.subjects import Subjects

CHART = ROOT / "deploy" / "helm" / "vagus"
GOLDEN = Path(__file__).parent / "golden"
RULES = ROOT / "deploy" / "observability" / "rules.yaml"
KEY = "AC4A6K5F2D6B7QH4MMQ6PFSU2T4BSZJ5UQ2YCY7TK4UDJKTLYXJ3PHVI"
_MARK = "          # From here to the end made by"

CASES: dict[str, dict[str, Any]] = {
    "default": {"grantPublicKeys": [KEY]},
    "everything": {
        "grantPublicKeys": [KEY, KEY],
        "image": {"prefix": "registry.example/vagus-", "tag": "1.2.3", "pullSecrets": [{"name": "pull"}]},
        "rootSubject": "acme",
        "collector": {"enabled": True, "serviceMonitor": {"labels": {"release": "prometheus"}}},
        "rules": {"enabled": True},
        "keda": {"enabled": True},
        "kernel": {"replicas": 5, "provider": "anthropic:claude", "egress": [{"ports": [{"port": 443}]}]},
        "sink": {
            "enabled": True,
            "sinks": {
                "audit": {
                    "type": "webhook",
                    "url": "https://example.org/hooks",
                    "secrets": [{"env": "AUDIT_SECRET"}],
                }
            },
            "env": [
                {
                    "name": "AUDIT_SECRET",
                    "valueFrom": {"secretKeyRef": {"name": "vagus-sinks", "key": "audit"}},
                }
            ],
            "egress": [{"ports": [{"port": 443}]}],
        },
        "networkPolicies": {"clients": [{"namespaceSelector": {"matchLabels": {"team": "data"}}}]},
        "toolrunner": {
            "pools": {
                "default": {},
                "gpu": {
                    "slots": 1,
                    "tools": ["acme.render"],
                    "image": "registry.example/render:7",
                    "workspaceTools": False,
                    "stopGraceSeconds": 300,
                    "nodeSelector": {"accelerator": "gpu"},
                    "scale": {"min": 0, "max": 4, "lag": 1},
                },
            }
        },
    },
    "own-nats": {
        "grantPublicKeys": [KEY],
        "servers": "nats://nats.example:4222",
        "nats": {"enabled": False},
        "relay": {"enabled": False},
        "secrets": {"ca": ""},
        "workspaces": {"existingClaim": "shared"},
        "networkPolicies": {"natsPeers": [{"ipBlock": {"cidr": "192.0.2.0/24"}}]},
    },
}
"""Values by the name of their golden."""


def helm() -> str | None:
    """The program, if it is there."""
    return shutil.which("helm")


@contextmanager
def staged() -> Iterator[Path]:
    """A copy of the chart whose dependency is there, and empty: the real one is fetched at its install."""
    with tempfile.TemporaryDirectory() as folder:
        chart = Path(shutil.copytree(CHART, Path(folder) / "vagus"))
        nats = chart / "charts" / "nats"
        nats.mkdir(parents=True, exist_ok=True)
        (nats / "Chart.yaml").write_text("apiVersion: v2\nname: nats\nversion: 2.14.0\n")
        yield chart


def rendered(chart: Path, values: dict[str, Any]) -> str:
    """The manifests for some values; raises AssertionError with what helm says if it refuses them."""
    command = [helm() or "helm", "template", "vagus", str(chart), "--namespace", "agents", "--values", "-"]
    run = subprocess.run(command, input=yaml.safe_dump(values), capture_output=True, text=True, timeout=60)
    assert run.returncode == 0, run.stderr
    return run.stdout


def users() -> list[dict[str, Any]]:
    """The users of NATS as its chart takes them; what stands in << >> is written without quotes."""
    return [
        {
            "nkey": f"<< $VAGUS_NKEY_{user.upper()} >>",
            "permissions": {"publish": list(granted.publish), "subscribe": list(granted.subscribe)},
        }
        for user, granted in permissions(Subjects()).items()
    ]


def main() -> int:
    """Write everything anew."""
    values = CHART / "values.yaml"
    kept, mark, rest = values.read_text().partition(_MARK)
    made = yaml.safe_dump({"users": users()}, sort_keys=False, width=10_000)
    indented = "".join(f"          {line}\n" for line in made.splitlines())
    values.write_text(kept + mark + rest.partition("\n")[0] + "\n" + indented)
    (CHART / "files").mkdir(exist_ok=True)
    shutil.copy(RULES, CHART / "files" / "rules.yaml")
    GOLDEN.mkdir(exist_ok=True)
    with staged() as chart:
        for name, given in CASES.items():
            (GOLDEN / f"{name}.yaml").write_text(rendered(chart, given))
    return 0


if __name__ == "__main__":
    sys.exit(main())
