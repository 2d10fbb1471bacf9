"""The chart as it is installed on a Kubernetes cluster: pods vanish, roll and move under load.

Needs what docs/deploying.md tells to install, in the current context of kubectl, with its keys and
certificates in `$VAGUS_TEST_SECRETS` (or `secrets`); the release is called `vagus`. It deletes pods and
drains a node: not for a cluster that others use. `make test-kubernetes` runs it.
"""

import os
import shutil
import subprocess
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import anyio
import msgspec
import pytest
from anyio.to_thread import run_sync

import vagus
from tests.kit.cluster import free_ports
from tests.kit.deployed import check, working
from tests.kit.waiting import eventually
from vagus.contract.errors import VagusError
from vagus.contract.permissions import User, inbox_prefix
from vagus.runtime.settings import Access

pytestmark = pytest.mark.kubernetes

RELEASE = "vagus"
OURS = f"app.kubernetes.io/part-of=vagus,app.kubernetes.io/instance={RELEASE}"
SERVERS = f"app.kubernetes.io/name=nats,app.kubernetes.io/instance={RELEASE}"
KINDS = ("kernel", "toolrunner-default", "policygate", "approver", "relay")
READY_S = 300


class Installation:
    """The release in the current context and namespace of kubectl."""

    def __init__(self, secrets: Path) -> None:
        self._secrets = secrets
        self._ports = free_ports(3)

    @property
    def url(self) -> str:
        """All servers, as they are forwarded."""
        return ",".join(f"nats://localhost:{port}" for port in self._ports)

    def access(self, user: User) -> Access:
        """How a user logs in from outside."""
        return Access(
            nkey=self._secrets / f"{user}.nk",
            tls_ca=self._secrets / "ca.pem",
            inbox_prefix=inbox_prefix(user),
        )

    def kubectl(self, *arguments: str, timeout_s: float = READY_S + 10) -> str:
        """Have Kubernetes do something; gives what kubectl says."""
        run = subprocess.run(["kubectl", *arguments], capture_output=True, text=True, timeout=timeout_s)
        assert run.returncode == 0, f"kubectl {' '.join(arguments)}: {run.stderr}"
        return run.stdout

    def pods(self, selector: str) -> list[Any]:
        """What Kubernetes knows of some pods, but of those that have ended."""
        listed = msgspec.json.decode(self.kubectl("get", "pods", "-l", selector, "-o", "json"))
        return [pod for pod in listed["items"] if pod["status"]["phase"] != "Succeeded"]

    def names(self, kind: str) -> list[str]:
        """The pods of a kind, or of NATS."""
        selector = SERVERS if kind == "nats" else f"{OURS},app.kubernetes.io/name=vagus-{kind}"
        return [pod["metadata"]["name"] for pod in self.pods(selector)]

    def workloads(self) -> list[str]:
        """Everything that is rolled: the servers first."""
        deployments = self.kubectl("get", "deployments", "-l", OURS, "-o", "name").split()
        return [f"statefulset/{RELEASE}-nats", *deployments]

    def settled(self) -> None:
        """Wait until everything is there and ready."""
        for workload in self.workloads():
            self.kubectl("rollout", "status", workload, f"--timeout={READY_S}s")

    @asynccontextmanager
    async def forwarded(self) -> AsyncIterator[None]:
        """Reach the servers from here while the block lasts, whatever becomes of their pods."""

        async def forward(number: int, port: int) -> None:
            command = ["kubectl", "port-forward", f"pod/{RELEASE}-nats-{number}", f"{port}:4222"]
            while True:
                await anyio.run_process(command, check=False)
                await anyio.sleep(0.5)

        async with anyio.create_task_group() as forwards:
            for number, port in enumerate(self._ports):
                forwards.start_soon(forward, number, port)
            yield
            forwards.cancel_scope.cancel()

    async def do(self, *arguments: str) -> str:
        """`kubectl` beside other work."""
        return await run_sync(self.kubectl, *arguments)


@pytest.fixture(scope="module")
def installation() -> Installation:
    if shutil.which("kubectl") is None:
        pytest.fail("kubectl is not installed")
    secrets = Path(os.environ.get("VAGUS_TEST_SECRETS", "secrets")).absolute()
    if not (secrets / "ca.pem").exists():
        pytest.fail(
            f"no ca.pem in {secrets}: set VAGUS_TEST_SECRETS to the folder of the installation's keys"
        )
    found = Installation(secrets)
    found.settled()
    return found


@pytest.fixture
async def client(installation: Installation) -> AsyncIterator[vagus.Client]:
    async with installation.forwarded():
        await eventually(lambda: _reached(installation), timeout_s=60, every_s=0.5)
        access = installation.access(User.CLIENT)
        async with vagus.connect(installation.url, access=access, actor="test", timeout_s=60) as connected:
            yield connected


async def _reached(installation: Installation) -> bool:
    try:
        async with vagus.connect(installation.url, access=installation.access(User.CLIENT)):
            return True
    except VagusError:
        return False


async def _whole(installation: Installation, client: vagus.Client) -> None:
    """Wait until all pods are ready, and all processes have said that they live."""
    await run_sync(installation.settled)
    wanted = Counter({kind.partition("-")[0]: len(installation.names(kind)) for kind in KINDS})
    wanted["runner"] = wanted.pop("toolrunner")

    async def there() -> bool:
        return Counter(member.kind for member in await client.members()) == wanted

    await eventually(there, timeout_s=60, every_s=0.5)


async def test_pods_that_vanish_cost_no_tick_and_leave_a_whole_log(
    installation: Installation, client: vagus.Client, tmp_path: Path
) -> None:
    book = tmp_path / "accepted.ndjson"
    async with working(client, book):
        for kind in (*KINDS, "nats", "kernel"):
            victim = (await run_sync(installation.names, kind))[0]
            await installation.do("delete", "pod", victim, "--grace-period=0", "--force", "--wait=false")
            await anyio.sleep(3)
            await _whole(installation, client)
    await check(installation.url, installation.access(User.OPERATOR), book)


async def test_everything_is_rolled_under_load(
    installation: Installation, client: vagus.Client, tmp_path: Path
) -> None:
    book = tmp_path / "accepted.ndjson"
    async with working(client, book):
        for workload in await run_sync(installation.workloads):
            await installation.do("rollout", "restart", workload)
            await installation.do("rollout", "status", workload, f"--timeout={READY_S}s")
        await _whole(installation, client)
    await check(installation.url, installation.access(User.OPERATOR), book)


async def test_a_node_is_drained_under_load(
    installation: Installation, client: vagus.Client, tmp_path: Path
) -> None:
    book = tmp_path / "accepted.ndjson"
    ((node, _),) = Counter(pod["spec"]["nodeName"] for pod in installation.pods(OURS)).most_common(1)
    try:
        async with working(client, book):
            await installation.do(
                "drain", node, "--ignore-daemonsets", "--delete-emptydir-data", f"--timeout={READY_S}s"
            )
            assert node not in {pod["spec"].get("nodeName") for pod in installation.pods(OURS)}
            await installation.do("uncordon", node)
            await _whole(installation, client)
    finally:
        installation.kubectl("uncordon", node)
    await check(installation.url, installation.access(User.OPERATOR), book)


def test_no_pod_was_started_again_because_it_ended_by_itself(installation: Installation) -> None:
    statuses = [
        (pod["metadata"]["name"], status["restartCount"])
        for pod in installation.pods(OURS)
        for status in pod["status"]["containerStatuses"]
    ]
    assert [name for name, restarts in statuses if restarts] == []


@pytest.mark.parametrize("kind", [*KINDS, "nats"])
def test_a_container_is_nobodys_without_powers_and_its_root_cannot_be_written(
    installation: Installation, kind: str
) -> None:
    pod = installation.names(kind)[0]
    container = kind.partition("-")[0]
    told = installation.kubectl(
        "exec", pod, "-c", container, "--", "cat", "/proc/self/status", "/proc/mounts"
    )
    said = {line.partition(":")[0]: line.partition(":")[2].split() for line in told.splitlines()}
    assert said["Uid"] == ["65532"] * 4
    assert (said["CapEff"], said["NoNewPrivs"], said["Seccomp"]) == (["0" * 16], ["1"], ["2"])
    (root,) = [fields[3] for line in told.splitlines() if (fields := line.split())[1:2] == ["/"]]
    assert "ro" in root.split(",")
