"""The real processes, as `vagus up` runs them. Slow: each process starts a Python."""

import os
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import anyio
import pytest

import vagus
from tests.kit.up import ENVIRON, alive, up
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


@asynccontextmanager
async def running(folder: Path, **more: object) -> AsyncIterator[tuple[Supervisor, list[str]]]:
    told: list[str] = []
    plan = Plan(store=folder, environ=ENVIRON, durability="fast", **more)  # type: ignore[arg-type]
    async with supervise(plan, tell=told.append) as supervisor:
        yield supervisor, told


def left(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


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


async def test_ctrl_c_stops_everything_in_time_and_no_input_is_lost(tmp_path: Path) -> None:
    script = tmp_path / "script.json"
    script.write_text(
        '{"*": [{"directives": [{"type": "message", "role": "assistant", "content": "late"}]}]}'
    )
    slow = script.read_text().replace("[{", '[{"delay_ms": 60000, ', 1)
    script.write_text(slow)
    async with up(tmp_path / "store", "--provider", f"scripted:{script}") as terminal:
        first = await terminal.ready()
        async with vagus.connect(first.server) as client:
            session = await client.create_session(owner="me", policy=PRESETS["default"], session_id="s")
            with pytest.raises(vagus.OutcomeUnknown):
                await session.tick("hello", command_id="c1", timeout_s=0.5)
        terminal.ctrl_c()
        assert await terminal.stopped() == 0
    assert not any(alive(pid) for pid in first.pids)
    script.write_text(slow.replace("60000", "0"))
    async with up(tmp_path / "store", "--provider", f"scripted:{script}") as terminal:
        async with vagus.connect((await terminal.ready()).server) as client:
            with anyio.fail_after(30):
                output = await (await client.session("s")).tick("hello", command_id="c1")
        assert output.text == "late"
        terminal.process.send_signal(signal.SIGTERM)
        assert await terminal.stopped() == 0


async def test_when_the_supervisor_is_killed_its_children_die(tmp_path: Path) -> None:
    async with up(tmp_path / "store") as terminal:
        found = await terminal.ready()
        assert all(alive(pid) for pid in found.pids)
        terminal.process.kill()
        await terminal.process.wait()
        await eventually(lambda: not any(alive(pid) for pid in found.pids), timeout_s=10)
