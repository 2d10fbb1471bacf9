"""Processes from outside: arguments, settings, signals, exit codes, and death at the worst moment."""

import os
import re
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import msgspec
import pytest
from anyio import create_task_group, sleep, to_thread

from tests.kit.cluster import free_ports
from tests.kit.command_line import run
from tests.kit.processes import RealProcess, process
from tests.kit.services import Inbox, stored, wait_until_empty
from tests.kit.slices import slice_ns, with_slices
from tests.kit.waiting import eventually
from vagus.contract.errors import Unavailable
from vagus.contract.messages import GateRequest, Role, Verdict
from vagus.contract.policy import PolicyInForce, PolicySet
from vagus.contract.streams import MEMBERS, POLICIES
from vagus.contract.subjects import Subjects
from vagus.contract.tools import ToolCall, ToolDefinition
from vagus.runtime.awaiting import streams_there
from vagus.runtime.bucket import Bucket
from vagus.runtime.bus import Bus, connect
from vagus.runtime.embedded import EmbeddedServer
from vagus.runtime.grants import generate_key
from vagus.runtime.provision import ensure
from vagus.runtime.scheduling import SLICE_NS
from vagus.runtime.settings import describe
from vagus.runtime.toolbox import register
from vagus_approver.settings import Settings as ApproverSettings
from vagus_policygate.settings import Settings as GateSettings

CLEAN = {name: value for name, value in os.environ.items() if not name.startswith(("VAGUS_", "OTEL_"))}


def once(*arguments: str, **environ: str) -> subprocess.CompletedProcess[str]:
    """Run a process that ends by itself: a module and its arguments, or `-c` and a script."""
    return subprocess.run(
        [sys.executable, *([] if arguments[0] == "-c" else ["-m"]), *arguments],
        capture_output=True,
        env={**CLEAN, **environ},
        text=True,
        timeout=30,
    )


@pytest.fixture
def environ(broker: EmbeddedServer, subjects: Subjects, tmp_path: Path) -> dict[str, str]:
    """Of processes on the test's server."""
    generate_key(tmp_path / "grant.seed")
    return {
        "VAGUS_SERVER": broker.url,
        "VAGUS_ROOT_SUBJECT": subjects.root,
        "VAGUS_PARTITIONS": "1",
        "VAGUS_GRANT_SEED_FILE": str(tmp_path / "grant.seed"),
    }


# Arguments and settings -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("module", "settings"), [("vagus_policygate", GateSettings), ("vagus_approver", ApproverSettings)]
)
def test_help_lists_every_setting(module: str, settings: Any) -> None:
    done = once(module, "--help")
    assert done.returncode == 0
    for setting in describe(settings):
        assert setting.variable in done.stdout
        assert setting.help in done.stdout


def test_the_settings_in_force_are_printed_without_passwords() -> None:
    done = once("vagus_approver", "--print-settings", VAGUS_SERVER="nats://me:secret@h:4222")
    assert done.returncode == 0
    assert "VAGUS_SERVER=nats://(hidden)@h:4222" in done.stdout
    assert "VAGUS_APPROVER_CONCURRENCY=64" in done.stdout
    assert "secret" not in done.stdout


def test_the_version_is_printed() -> None:
    assert re.fullmatch(r"vagus \d+\.\d+\.\d+\n", once("vagus_approver", "--version").stdout)


@pytest.mark.parametrize(
    ("environ", "said"),
    [
        ({}, "VAGUS_GRANT_SEED_FILE is not set"),
        (
            {"VAGUS_GRANT_SEED_FILE": "/k", "VAGUS_PARTITIONS": "many"},
            "VAGUS_PARTITIONS='many': must be a whole",
        ),
        ({"VAGUS_GRANT_SEED_FILE": "/k", "VAGUS_FAULT": "x:0"}, "VAGUS_FAULT='x:0'"),
        ({"VAGUS_GRANT_SEED_FILE": "/k", "OTEL_TRACES_EXPORTER": "x"}, "OTEL_TRACES_EXPORTER='x': must be"),
    ],
)
def test_wrong_settings_end_it_with_one_line_before_it_does_anything(
    environ: dict[str, str], said: str
) -> None:
    done = once("vagus_policygate", **environ)
    assert done.returncode == 2
    assert done.stderr.startswith("vagus_policygate: ")
    assert said in done.stderr
    assert done.stderr.count("\n") == 1
    assert done.stdout == ""


def test_a_wrong_argument_is_a_usage_error() -> None:
    assert once("vagus_approver", "--nonsense").returncode == 2


def test_a_missing_key_ends_it_with_one_line(environ: dict[str, str]) -> None:
    done = once("vagus_policygate", **environ | {"VAGUS_GRANT_SEED_FILE": "/nowhere/grant.seed"})
    assert done.returncode == 2
    assert "vagus_policygate: cannot read the grant seed /nowhere/grant.seed" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_server_that_is_not_there_is_said_in_one_line() -> None:
    impatient = (
        "import functools, sys\n"
        "from vagus.runtime import process\n"
        "from vagus_approver.__main__ import Settings, serve\n"
        "process.connect = functools.partial(process.connect, timeout_s=0.3)\n"
        "sys.exit(process.run('approver', Settings, serve, []))\n"
    )
    done = once("-c", impatient, VAGUS_SERVER="nats://127.0.0.1:1")
    assert done.returncode == 1
    (line,) = [line for line in done.stderr.splitlines() if line.startswith("vagus_approver: ")]
    assert "nats://127.0.0.1:1" in line
    assert "Traceback" not in done.stderr


# Waiting for others ---------------------------------------------------------------------------------------


async def test_it_waits_for_the_server_and_for_the_streams_that_another_makes(tmp_path: Path) -> None:
    environ = {
        "VAGUS_SERVER": f"nats://127.0.0.1:{(port := free_ports(1)[0])}",
        "VAGUS_PROVISION": "false",
        "VAGUS_WAIT_S": "60",
    }
    async with process("vagus_approver", environ, tmp_path / "log", ready=False) as running:
        await eventually(lambda: "waiting: no NATS server at" in running.log.read_text(), timeout_s=30)
        async with EmbeddedServer(tmp_path / "store", port=port, durability="fast") as server:
            await eventually(
                lambda: "make them with `vagus provision`" in running.log.read_text(), timeout_s=30
            )
            assert "is ready" not in running.log.read_text()
            done = await run("provision", "--server", server.url, "--wait", "60")
            assert done.code == 0, done
            await running.ready()
            running.send(signal.SIGTERM)
            assert await running.ended() == 0


async def test_streams_that_nobody_has_made_are_said_in_one_line(
    broker: EmbeddedServer, subjects: Subjects
) -> None:
    done = await to_thread.run_sync(
        lambda: once(
            "vagus_approver",
            VAGUS_SERVER=broker.url,
            VAGUS_ROOT_SUBJECT=subjects.root,
            VAGUS_PROVISION="false",
            VAGUS_WAIT_S="1",
        )
    )
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1] == (
        f"vagus_approver: {subjects.root} has no streams on this server: make them with `vagus provision`"
    )


async def test_provisioning_waits_for_the_server(tmp_path: Path) -> None:
    port = free_ports(1)[0]
    async with create_task_group() as both:

        async def make() -> None:
            done = await run("provision", "--server", f"nats://127.0.0.1:{port}", "--wait", "60", "--json")
            assert done.code == 0, done

        both.start_soon(make)
        await sleep(1)
        async with (
            EmbeddedServer(tmp_path / "store", port=port, durability="fast") as server,
            connect(server.url, name="test") as bus,
        ):
            await eventually(lambda: _made(bus), timeout_s=60)
            info = await bus.api("STREAM.INFO.VAGUS_EVENTS")
            assert info["config"]  # the firehose as well: the leases are made last


async def _made(bus: Bus) -> bool:
    try:
        await streams_there(bus, Subjects())
    except Unavailable:
        return False
    return True


# Signals --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("module", ["vagus_policygate", "vagus_approver"])
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_a_signal_stops_it_cleanly(
    bus: Bus, environ: dict[str, str], module: str, number: signal.Signals, subjects: Subjects, tmp_path: Path
) -> None:
    members = Bucket(bus, subjects.named(MEMBERS))
    async with process(module, environ, tmp_path / "log") as running:
        (member,) = await members.keys()
        assert member.startswith(module.removeprefix("vagus_") + ".")
        running.send(number)
        assert await running.ended() == 0
    log = running.log.read_text()
    assert f"{number.name}: finishing running work" in log
    assert "Traceback" not in log
    assert await members.keys() == []


@with_slices
async def test_it_runs_for_longer_at_a_stretch(environ: dict[str, str], tmp_path: Path) -> None:
    async with process("vagus_policygate", environ, tmp_path / "log") as running:
        assert slice_ns(running.pid) == SLICE_NS


async def test_a_signal_before_there_is_work_ends_it_at_once(tmp_path: Path) -> None:
    running = RealProcess("vagus_approver", {"VAGUS_SERVER": "nats://127.0.0.1:1"}, tmp_path / "log")
    await eventually(lambda: "connects" in running.log.read_text(), timeout_s=15)
    running.send(signal.SIGTERM)
    assert await running.ended(timeout_s=5) == 0


# Death ----------------------------------------------------------------------------------------------------


async def test_a_gate_killed_between_verdict_and_ack_does_no_harm(
    bus: Bus, environ: dict[str, str], subjects: Subjects, tmp_path: Path
) -> None:
    await ensure(bus, subjects, partitions=1)
    await register(bus, subjects, ToolDefinition(name="t"))
    policy = PolicyInForce(version=1, policy=PolicySet.preset("default"))
    await Bucket(bus, subjects.named(POLICIES)).put("s", msgspec.json.encode(policy))
    request = GateRequest(
        effect_id="e",
        attempt=1,
        session_id="s",
        branch_id="main",
        tool_run_id="r",
        call=ToolCall(tool_name="t"),
        policy_version=1,
    )
    async with Inbox(bus, subjects).open() as inbox:
        fatal = environ | {"VAGUS_FAULT": "policygate.verdict_stored"}
        async with process("vagus_policygate", fatal, tmp_path / "first") as first:
            await bus.store(subjects.gate("s"), msgspec.json.encode(request))
            assert await first.ended() == -signal.SIGKILL
        (verdict,) = await inbox.count(Role.VERDICT, Verdict, 1)
        assert await stored(bus, subjects.named("GATE")) == 1
        async with process("vagus_policygate", environ, tmp_path / "second"):
            await wait_until_empty(bus, subjects.named("GATE"), timeout_s=60)
        assert inbox.of(Role.VERDICT, Verdict) == [verdict]
    assert verdict.grant is not None
