"""Processes that are asked from afar to drain, and watched over meanwhile."""

from collections.abc import AsyncIterator
from pathlib import Path

import anyio
import pytest

import vagus
from tests.kit.command_line import run
from tests.kit.probe import GET, free_port, probe
from tests.kit.processes import process
from tests.kit.system import system
from tests.kit.waiting import eventually
from vagus.contract.subjects import Subjects
from vagus.runtime.embedded import EmbeddedServer
from vagus.runtime.grants import generate_key
from vagus.runtime.supervisor import Plan, Supervisor


@pytest.fixture
async def client(broker: EmbeddedServer, subjects: Subjects) -> AsyncIterator[vagus.Client]:
    async with vagus.connect(broker.url, root_subject=subjects.root) as client:
        yield client


@pytest.fixture
def environ(broker: EmbeddedServer, subjects: Subjects, tmp_path: Path) -> dict[str, str]:
    return {
        "VAGUS_SERVER": broker.url,
        "VAGUS_ROOT_SUBJECT": subjects.root,
        "VAGUS_ROOT": str(tmp_path / "root"),
        "VAGUS_PARTITIONS": "2",
        "VAGUS_GRANT_SEED_FILE": str(tmp_path / "grant.seed"),
        "VAGUS_GRANT_PUBLIC_KEYS": generate_key(tmp_path / "grant.seed"),
        "VAGUS_INSTANCE": "one",
    }


@pytest.mark.parametrize(
    ("module", "name"),
    [
        ("vagus_kernel", "kernel.one"),
        ("vagus_policygate", "policygate.one"),
        ("vagus_toolrunner", "runner.default.one"),
        ("vagus_approver", "approver.one"),
    ],
)
async def test_a_process_is_drained_from_afar(
    client: vagus.Client, environ: dict[str, str], module: str, name: str, tmp_path: Path
) -> None:
    port = free_port()
    watched = environ | {"VAGUS_HEALTH_PORT": str(port)}
    async with process(module, watched, tmp_path / "log") as running:
        status, told = await probe(port, GET % b"/readyz")
        assert (status, told["status"], told["instance"]) == (200, "ready", "one")
        assert [member.instance for member in await client.members()] == ["one"]
        await client.drain(name)
        assert await running.ended() == 0
    assert await client.members() == []
    assert "Traceback" not in running.log.read_text()


async def test_one_that_has_no_server_yet_is_alive_and_not_ready(tmp_path: Path) -> None:
    port = free_port()
    environ = {"VAGUS_SERVER": "nats://127.0.0.1:1", "VAGUS_HEALTH_PORT": str(port)}
    async with process("vagus_approver", environ, tmp_path / "log", ready=False) as running:
        await eventually(lambda: "connects" in running.log.read_text())
        assert (await probe(port, GET % b"/healthz"))[0] == 200
        status, told = await probe(port, GET % b"/readyz")
        assert (status, told["status"]) == (503, "starting")


async def test_one_that_finishes_its_work_says_so_and_takes_no_more(
    client: vagus.Client, subjects: Subjects, broker: EmbeddedServer, tmp_path: Path
) -> None:
    """A runner has a call in hand for as long as a file is missing."""
    tools = tmp_path / "patient.py"
    tools.write_text(
        "import anyio, vagus\n"
        "@vagus.tool\n"
        "async def wait(context: vagus.ToolContext) -> str:\n"
        "    (context.workspace / 'begun').touch()\n"
        "    while not (context.workspace / 'go').exists():\n"
        "        await anyio.sleep(0.02)\n"
        "    return 'waited'\n"
    )
    port = free_port()
    async with system(broker.url, subjects, tmp_path, services="gate kernel") as whole:
        patient = {"VAGUS_TOOLS": str(tools), "VAGUS_HEALTH_PORT": str(port), "VAGUS_STOP_GRACE_S": "60"}
        environ = whole.environ | patient | {"VAGUS_INSTANCE": "one"}
        policy = vagus.PolicySet(
            allow_capabilities=("*",),
            gate_capabilities=(),
            max_tool_runtime_secs=60,
            max_events_per_turn=256,
        )
        outputs: list[vagus.TickOutput] = []
        async with (
            process("vagus_toolrunner", environ, tmp_path / "log") as runner,
            anyio.create_task_group() as tasks,
        ):
            session = await client.create_session(owner="me", policy=policy, session_id="s")

            async def tick() -> None:
                outputs.append(await session.tick("wait", tool=vagus.ToolCall(tool_name="wait")))

            tasks.start_soon(tick)
            folder = whole.root / "sessions" / "s"
            await eventually((folder / "begun").exists)
            for _ in range(2):  # asked again, it goes on
                with pytest.raises(vagus.OutcomeUnknown, match="has not ended within"):
                    await client.drain("runner.one", timeout_s=0.3)

            async def draining() -> bool:
                status, told = await probe(port, GET % b"/readyz")
                return (status, told["status"]) == (503, "draining")

            await eventually(draining)
            assert (await probe(port, GET % b"/healthz"))[0] == 200
            (folder / "go").touch()
            assert await runner.ended() == 0
        assert [result.status for result in outputs[0].tool_results] == ["ok"]


@pytest.mark.parametrize(
    ("first", "ports"), [("9000", ["9000", "9001", "9002", "9003", "9004"]), ("0", ["0"] * 5), ("", [""] * 5)]
)
def test_processes_on_one_machine_have_health_ports_of_their_own(
    tmp_path: Path, first: str, ports: list[str]
) -> None:
    environ = {"VAGUS_HEALTH_PORT": first}
    plan = Plan(store=tmp_path, server="nats://127.0.0.1:1", kernels=2, environ=environ)
    supervisor = Supervisor(plan, None, lambda said: None)
    supervisor.hire()
    assert [child._environ["VAGUS_HEALTH_PORT"] for child in supervisor.children] == ports


async def test_the_command_line_drains_one_or_all(
    environ: dict[str, str], subjects: Subjects, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("VAGUS_ROOT_SUBJECT", subjects.root)
    monkeypatch.setenv("VAGUS_SERVER", environ["VAGUS_SERVER"])
    async with (
        process("vagus_approver", environ, tmp_path / "approver") as approver,
        process("vagus_policygate", environ, tmp_path / "one") as one,
        process("vagus_policygate", environ | {"VAGUS_INSTANCE": "two"}, tmp_path / "two") as two,
    ):
        done = await run("drain", "policygate.one")
        assert (done.code, done.err) == (0, "")
        assert "policygate.one  has ended" in done.out
        assert await one.ended() == 0
        lost = await run("drain", "policygate.one", "--json")
        assert lost.code == 1
        assert lost.json[0]["error"].startswith("no such process: policygate.one")
        done = await run("drain", "--all", "--json")
        assert done.code == 0
        assert [(item["process"], item["error"]) for item in done.json] == [
            ("approver.one", ""),
            ("policygate.two", ""),
        ]
        assert [await approver.ended(), await two.ended()] == [0, 0]
    for arguments in (("drain",), ("drain", "kernel.k", "--all")):
        assert (await run(*arguments)).code == 2
