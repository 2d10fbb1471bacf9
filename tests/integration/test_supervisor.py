"""The real processes, as `vagus up` runs them. Slow: each process starts a Python."""

import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import anyio
import msgspec
import pytest

import vagus
from tests.kit.waiting import eventually
from vagus.contract.errors import SettingsError, Unavailable
from vagus.contract.policy import PRESETS
from vagus.runtime.store import Store, held
from vagus.runtime.supervisor import Plan, Supervisor, supervise

WRITE = vagus.ToolCall(tool_name="fs.write", input={"path": "artifacts/a.txt", "content": "hi"})
DOUBLE = """\
import vagus

@vagus.tool(read_only=True)
def double(number: int) -> int:
    return 2 * number
"""
ENVIRON = {name: value for name, value in os.environ.items() if not name.startswith("VAGUS_")}


@asynccontextmanager
async def running(folder: Path, **more: object) -> AsyncIterator[tuple[Supervisor, list[str]]]:
    told: list[str] = []
    plan = Plan(store=folder, environ=ENVIRON, durability="fast", **more)  # type: ignore[arg-type]
    async with supervise(plan, tell=told.append) as supervisor:
        yield supervisor, told


def left(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return Path(f"/proc/{pid}/stat").read_text().split()[2] != "Z"


async def test_whatever_dies_is_started_again_and_goes_on(tmp_path: Path) -> None:
    async with running(tmp_path / "store") as (supervisor, told), vagus.connect(supervisor.url) as client:
        session = await client.create_session(owner="me", policy=PRESETS["default"], session_id="s")
        assert (await session.tick("one", tool=WRITE)).tool_results[0].status == "ok"
        for child in supervisor.children:
            child.signal(signal.SIGKILL)
        server = supervisor.server
        assert server is not None
        assert server.pid is not None
        os.kill(server.pid, signal.SIGKILL)
        with anyio.fail_after(60):
            assert (await session.tick("two", tool=WRITE)).tool_results[0].status == "ok"
        assert (await session.verify()).ok
        assert [child.restarts for child in supervisor.children] == [1, 1, 1, 1]
        pids = [child.pid for child in supervisor.children] + [server.pid]
    assert any("nats-server ended: starting it again" in said for said in told)
    assert any(said.startswith("kernel-1 was killed by SIGKILL; starting it again") for said in told)
    assert not any(pid is not None and alive(pid) for pid in pids)
    assert not any("killing it" in said for said in told)


async def test_an_error_inside_passes_through_as_itself(tmp_path: Path) -> None:
    with pytest.raises(vagus.Conflict, match="mine"):
        async with running(tmp_path / "store", kernels=0, runners=0):
            raise vagus.Conflict("mine")


async def test_a_store_in_use_is_refused(tmp_path: Path) -> None:
    store = Store(tmp_path / "store")
    store.make()
    with held(store), pytest.raises(SettingsError, match="in use by process"):
        async with running(store.folder):
            pass


async def test_a_port_in_use_is_refused(tmp_path: Path, broker: object) -> None:
    port = broker.port  # type: ignore[attr-defined]
    with pytest.raises(SettingsError, match=f"port {port} is in use"):
        async with running(tmp_path / "store", port=port):
            pass


async def test_a_wrong_setting_is_told_at_once(tmp_path: Path) -> None:
    plan = Plan(store=tmp_path / "store", environ={**ENVIRON, "VAGUS_PARTITIONS": "0"})
    with pytest.raises(SettingsError, match="VAGUS_PARTITIONS='0': must be a whole number from 1 to 1024"):
        async with supervise(plan, tell=lambda said: None):
            pass


async def test_a_process_that_never_starts_is_given_up(tmp_path: Path) -> None:
    with pytest.raises((SettingsError, Unavailable), match=r"kernel-1 .*unknown model provider 'nobody'"):
        async with running(tmp_path / "store", provider="nobody"):
            pass


async def test_embedded_runs_everything_and_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    tools = tmp_path / "mine.py"
    tools.write_text(DOUBLE)
    async with vagus.embedded(durability="fast", tools=[str(tools)], kernels=2, runners=2) as client:
        session = await client.create_session(owner="me", policy=PRESETS["pro"])
        call = vagus.ToolCall(tool_name="double", input={"number": 21})
        (result,) = (await session.tick("double", tool=call)).tool_results
        assert result.outcome == vagus.Success(output=42)
    assert left(tmp_path) == ["mine.py"]


class Up(msgspec.Struct):
    """What `vagus up --json` says."""

    server: str
    processes: list[dict[str, object]]

    @property
    def pids(self) -> list[int]:
        return [int(str(process["pid"])) for process in self.processes]


@asynccontextmanager
async def up(folder: Path, *arguments: str) -> AsyncIterator[tuple[anyio.abc.Process, Up]]:
    """`vagus up` as a process of its own, ready."""
    command = [sys.executable, "-c", "from vagus.cli import main; main()", "up", "--store", str(folder)]
    options = ["--port", "0", "--durability", "fast", "--json", *arguments]
    async with await anyio.open_process([*command, *options], env=ENVIRON, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None
        line = b""
        with anyio.fail_after(60):
            while not line.endswith(b"\n"):
                line += await process.stdout.receive()
        try:
            yield process, msgspec.json.decode(line, type=Up)
        finally:
            if process.returncode is None:
                process.kill()


async def test_ctrl_c_stops_everything_in_time_and_no_input_is_lost(tmp_path: Path) -> None:
    script = tmp_path / "script.json"
    script.write_text(
        '{"*": [{"directives": [{"type": "message", "role": "assistant", "content": "late"}]}]}'
    )
    slow = script.read_text().replace("[{", '[{"delay_ms": 60000, ', 1)
    script.write_text(slow)
    async with up(tmp_path / "store", "--provider", f"scripted:{script}") as (process, first):
        async with vagus.connect(first.server) as client:
            session = await client.create_session(owner="me", policy=PRESETS["default"], session_id="s")
            with pytest.raises(vagus.OutcomeUnknown):
                await session.tick("hello", command_id="c1", timeout_s=0.5)
        process.send_signal(signal.SIGINT)
        with anyio.fail_after(10):
            assert await process.wait() == 0
    assert not any(alive(pid) for pid in first.pids)
    script.write_text(slow.replace("60000", "0"))
    async with up(tmp_path / "store", "--provider", f"scripted:{script}") as (process, second):
        async with vagus.connect(second.server) as client:
            with anyio.fail_after(30):
                output = await (await client.session("s")).tick("hello", command_id="c1")
        assert output.text == "late"
        process.send_signal(signal.SIGTERM)
        with anyio.fail_after(10):
            assert await process.wait() == 0


async def test_when_the_supervisor_is_killed_its_children_die(tmp_path: Path) -> None:
    async with up(tmp_path / "store") as (process, found):
        assert all(alive(pid) for pid in found.pids)
        process.kill()
        await process.wait()
        await eventually(lambda: not any(alive(pid) for pid in found.pids), timeout_s=10)
