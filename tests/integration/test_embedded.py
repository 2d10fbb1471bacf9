import os
import signal
import subprocess
import sys
from pathlib import Path

import anyio
import pytest

from tests.kit.slices import slice_ns, with_slices
from tests.kit.waiting import eventually
from vagus.contract.errors import Unavailable
from vagus.runtime.bus import connect
from vagus.runtime.embedded import EmbeddedServer, find_server
from vagus.runtime.scheduling import SLICE_NS


def lives(pid: int) -> bool:
    try:
        return "State:\tZ" not in Path(f"/proc/{pid}/status").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return False


async def test_it_takes_connections_and_keeps_data_and_port(tmp_path: Path) -> None:
    async with EmbeddedServer(tmp_path) as server:
        async with connect(server.url, name="test") as bus:
            await bus.api("STREAM.CREATE.X", {"name": "X", "subjects": ["x"]})
            await bus.store("x", b"kept")
        port = server.port
        server.kill()
        assert server.pid is None
        await server.start()
        await server.start()
        assert server.port == port
        async with connect(server.url, name="test") as bus:
            assert (await bus.store("x", b"next")).sequence == 2
        await server.stop()
        await server.stop()


@pytest.mark.parametrize(("durability", "sync"), [("sync", "always"), ("fast", '"2m"')])
async def test_durability_is_the_sync_interval(tmp_path: Path, durability: str, sync: str) -> None:
    async with EmbeddedServer(tmp_path, durability=durability):  # type: ignore[arg-type]
        assert f"sync_interval: {sync}" in (tmp_path / "nats.conf").read_text()


async def test_two_servers_find_ports_of_their_own(tmp_path: Path) -> None:
    async with EmbeddedServer(tmp_path / "a") as one, EmbeddedServer(tmp_path / "b") as other:
        assert one.port != other.port


async def test_a_taken_port_is_told(tmp_path: Path) -> None:
    async with EmbeddedServer(tmp_path / "a") as one:
        with pytest.raises(Unavailable, match=r"nats-server ended with 1: .*address already in use"):
            await EmbeddedServer(tmp_path / "b", port=one.port).start()


async def test_a_missing_binary_is_told(tmp_path: Path) -> None:
    with pytest.raises(Unavailable, match="cannot start"):
        await EmbeddedServer(tmp_path, binary=tmp_path / "nothing").start()


async def test_the_binary_may_be_a_script_that_execs_it(tmp_path: Path) -> None:
    wrapper = tmp_path / "wrapped server"
    wrapper.write_text(f'#!/bin/sh\nexec "{find_server()}" "$@"\n')
    wrapper.chmod(0o755)
    async with (
        EmbeddedServer(tmp_path / "nats", binary=wrapper) as server,
        connect(server.url, name="test") as bus,
    ):
        assert bus.connected


async def test_a_server_that_is_never_ready_is_ended(tmp_path: Path) -> None:
    mute = tmp_path / "mute"
    mute.write_text("#!/bin/sh\nexec sleep 60\n")
    mute.chmod(0o755)
    server = EmbeddedServer(tmp_path / "nats", binary=mute)
    with pytest.raises(Unavailable, match="not ready"):
        await server.start(timeout_s=0.1)
    assert server.pid is None


async def test_it_ends_when_the_block_is_cancelled(tmp_path: Path) -> None:
    with anyio.CancelScope() as scope:
        async with EmbeddedServer(tmp_path) as server:
            pid = server.pid
            scope.cancel()
            await anyio.sleep_forever()
    assert pid is not None
    assert not lives(pid)


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells children of a parent's death")
async def test_it_dies_with_us_and_does_not_see_our_ctrl_c(tmp_path: Path) -> None:
    script = (
        "import anyio, sys, pathlib\n"
        "from vagus.runtime.embedded import EmbeddedServer\n"
        "async def main():\n"
        "    async with EmbeddedServer(pathlib.Path(sys.argv[1])) as server:\n"
        "        print(server.pid, flush=True)\n"
        "        await anyio.sleep_forever()\n"
        "anyio.run(main)\n"
    )
    parent = subprocess.Popen(  # noqa: ASYNC220
        [sys.executable, "-c", script, str(tmp_path)], stdout=subprocess.PIPE, start_new_session=True
    )
    assert parent.stdout is not None
    with parent.stdout:
        pid = int(parent.stdout.readline())
    assert os.getpgid(pid) != os.getpgid(parent.pid)
    parent.send_signal(signal.SIGKILL)
    parent.wait()
    await eventually(lambda: not lives(pid))


def test_the_installed_binary_is_found() -> None:
    assert find_server().is_file()


@with_slices
async def test_each_of_its_threads_runs_for_longer_at_a_stretch(tmp_path: Path) -> None:
    ours = slice_ns(os.getpid())
    async with EmbeddedServer(tmp_path) as server:
        threads = [int(path.name) async for path in anyio.Path(f"/proc/{server.pid}/task").iterdir()]
        assert len(threads) > 1
        assert {slice_ns(thread) for thread in threads} == {SLICE_NS}
    assert slice_ns(os.getpid()) == ours  # it is that of whoever's program we are part of
