import os
import resource
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import anyio
import pytest

from tests.kit.waiting import eventually
from vagus.contract.errors import HarnessError, ToolFailure
from vagus.tools import Tool, ToolContext
from vagus_toolrunner.group import Reaper
from vagus_toolrunner.shell import ANY, shell_exec

PATH = "/usr/local/bin:/usr/bin:/bin"
STREAM = 64 * 1024
FAMILY = "sleep 1000 & sleep 1000 & echo $$ > leader; sleep 1000"
"""A shell with three children, one of them in the foreground."""
STRAY = "setsid sh -c 'echo $$ > $HOME/leader; sleep 1000'"
"""A session of its own, in which another process runs."""

linux = pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells other processes' environments")


@pytest.fixture
def reaper() -> Iterator[Reaper]:
    made = Reaper()
    yield made
    made.close()


@pytest.fixture
def shell(reaper: Reaper) -> Tool[Any, Any]:
    return shell_exec(allowed={ANY}, path=PATH, reaper=reaper)


@pytest.fixture
def context(tmp_path: Path) -> ToolContext:
    return ToolContext(workspace=tmp_path)


async def sh(shell: Tool[Any, Any], context: ToolContext, script: str) -> Any:
    return await shell.invoke({"command": "sh", "args": ["-c", script]}, context)


def lives(group: int) -> bool:
    """Whether a process of the group is neither gone nor a zombie."""
    listed = subprocess.run(["ps", "-eo", "pgid=,stat="], capture_output=True, text=True, check=True).stdout
    rows = [line.split() for line in listed.splitlines()]
    return any(int(pgid) == group and not stat.startswith("Z") for pgid, stat in rows)


def _open_descriptors() -> int:
    return len(list(Path("/dev/fd").iterdir()))


async def leader(context: ToolContext) -> int:
    async def read() -> str:
        file = context.workspace / "leader"
        return file.read_text().strip() if file.exists() else ""

    return int(await eventually(read))


async def cut_short(shell: Tool[Any, Any], context: ToolContext, script: str) -> int:
    """Give up a command, as a timeout or a cancel does, once it has told its group; returns that."""
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(sh, shell, context, script)
        group = await leader(context)
        tasks.cancel_scope.cancel()
    return group


async def test_a_command_gives_its_output(shell: Tool[Any, Any], context: ToolContext) -> None:
    out = await sh(shell, context, "echo out; echo err >&2")
    assert (out["stdout"], out["stderr"], out["timed_out"]) == ("out\n", "err\n", False)
    assert isinstance(out["duration_ms"], int)
    assert "truncated" not in out


async def test_arguments_are_passed_as_they_are(shell: Tool[Any, Any], context: ToolContext) -> None:
    out: Any = await shell.invoke({"command": "echo", "args": ["$HOME; *", "a b", "`x`"]}, context)
    assert out["stdout"] == "$HOME; * a b `x`\n"


async def test_it_runs_in_the_workspace_with_empty_input(shell: Tool[Any, Any], context: ToolContext) -> None:
    out = await sh(shell, context, "pwd -P; cat")
    assert out["stdout"] == f"{context.workspace.resolve()}\n"


async def test_nothing_of_the_environment_is_passed_on(
    shell: Tool[Any, Any], context: ToolContext, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("VAGUS_SECRET", "x")
    out: Any = await shell.invoke({"command": "env"}, context)
    lines = dict(line.split("=", 1) for line in out["stdout"].splitlines())
    assert lines.pop("VAGUS_GROUP")  # by which its descendants are known
    assert lines == {"PATH": PATH, "HOME": str(context.workspace), "LANG": "C.UTF-8"}


async def test_no_descriptor_is_passed_on(shell: Tool[Any, Any], context: ToolContext) -> None:
    out = await sh(shell, context, "ls /dev/fd | wc -l")
    assert int(out["stdout"]) <= 4  # the three standard ones, and the listing's own


async def test_another_exit_status_is_a_failure(shell: Tool[Any, Any], context: ToolContext) -> None:
    with pytest.raises(ToolFailure, match=r"^command failed \(exit=3\): why\n$") as failed:
        await sh(shell, context, "echo why >&2; exit 3")
    assert failed.value.exit_status == 3


async def test_a_signal_is_a_failure_with_its_number(shell: Tool[Any, Any], context: ToolContext) -> None:
    with pytest.raises(ToolFailure) as failed:
        await sh(shell, context, "kill -TERM $$")
    assert failed.value.exit_status == -signal.SIGTERM


@pytest.mark.parametrize("allowed", [(), ("ls", "echo-2", "ech")])
async def test_a_command_that_is_not_listed_does_not_run(
    allowed: tuple[str, ...], context: ToolContext, reaper: Reaper
) -> None:
    shell = shell_exec(allowed=allowed, path=PATH, reaper=reaper)
    for command in ("echo", "/bin/echo", "", "*"):
        with pytest.raises(HarnessError, match="command not allowed"):
            await shell.invoke({"command": command}, context)


async def test_a_listed_command_runs(context: ToolContext, reaper: Reaper) -> None:
    shell = shell_exec(allowed=("echo",), path=PATH, reaper=reaper)
    out: Any = await shell.invoke({"command": "echo", "args": ["x"]}, context)
    assert out["stdout"] == "x\n"


@pytest.mark.parametrize(
    ("command", "args"),
    [("no-such-command", []), ("", []), ("echo", ["a\0b"]), ("/etc", []), ("echo", ["x" * 300_000])],
)
async def test_what_cannot_be_started_is_a_harness_error(
    command: str, args: list[str], shell: Tool[Any, Any], context: ToolContext
) -> None:
    with pytest.raises(HarnessError, match="cannot run the command"):
        await shell.invoke({"command": command, "args": args}, context)


async def test_output_that_is_no_utf8_is_shown_as_far_as_it_is(
    shell: Tool[Any, Any], context: ToolContext
) -> None:
    out = await sh(shell, context, r"printf 'a\377b\303\244'")
    assert out["stdout"] == "a\ufffdbä"


async def test_output_is_cut_while_it_is_read(shell: Tool[Any, Any], context: ToolContext) -> None:
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    out = await sh(shell, context, "head -c 100000000 /dev/zero | tr '\\0' x; head -c 70000 /dev/zero >&2")
    grown_kib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    assert out["stdout"] == "x" * STREAM
    assert len(out["stderr"]) == STREAM
    assert out["truncated"] is True
    assert grown_kib < 20_000


async def test_output_is_shown_as_it_comes(shell: Tool[Any, Any], tmp_path: Path) -> None:
    shown: list[Any] = []
    context = ToolContext(workspace=tmp_path, emit=shown.append)
    async with anyio.create_task_group() as group:
        group.start_soon(
            sh, shell, context, "echo first; while [ ! -e go ]; do sleep 0.01; done; echo second >&2"
        )
        await eventually(lambda: shown == [{"stream": "stdout", "text": "first\n"}])
        (tmp_path / "go").touch()
    assert shown[1:] == [{"stream": "stderr", "text": "second\n"}]


async def test_a_timeout_kills_the_whole_group(shell: Tool[Any, Any], context: ToolContext) -> None:
    assert not lives(await cut_short(shell, context, FAMILY))


async def test_a_command_that_ignores_signals_is_killed(shell: Tool[Any, Any], context: ToolContext) -> None:
    assert not lives(await cut_short(shell, context, f"trap '' TERM INT HUP; {FAMILY}"))


async def test_what_a_command_leaves_in_the_background_ends_with_it(
    shell: Tool[Any, Any], context: ToolContext
) -> None:
    with anyio.fail_after(5):
        out = await sh(shell, context, "echo $$ > leader; (sleep 1000; echo late) & echo done")
    assert out["stdout"] == "done\n"
    assert not lives(await leader(context))


@linux
async def test_what_leaves_the_group_is_killed_with_it(shell: Tool[Any, Any], context: ToolContext) -> None:
    assert not lives(await cut_short(shell, context, f"{STRAY} & sleep 1000"))


@linux
async def test_a_daemon_ends_with_the_command_that_started_it(
    shell: Tool[Any, Any], context: ToolContext
) -> None:
    """Twice removed, with nothing of the command's but its environment."""
    with anyio.fail_after(10):
        out = await sh(
            shell,
            context,
            f"(cd /; {STRAY} </dev/null >/dev/null 2>&1 &); while [ ! -s leader ]; do :; done; echo done",
        )
    assert out["stdout"] == "done\n"
    assert not lives(await leader(context))


async def test_one_that_gets_away_and_keeps_the_pipe_is_not_waited_for(
    shell: Tool[Any, Any], context: ToolContext
) -> None:
    with anyio.fail_after(10):
        out = await sh(
            shell,
            context,
            f"env -i PATH=$PATH HOME=$HOME {STRAY} & while [ ! -s leader ]; do :; done; echo done",
        )
    assert out["stdout"] == "done\n"
    os.killpg(await leader(context), signal.SIGKILL)


@pytest.mark.parametrize("script", [FAMILY, pytest.param(f"{STRAY} & sleep 1000", marks=linux)])
async def test_all_that_a_command_started_dies_with_a_runner_that_is_killed(
    context: ToolContext, script: str
) -> None:
    program = f"""
import anyio
from pathlib import Path
from vagus.tools import ToolContext
from vagus_toolrunner.group import Reaper
from vagus_toolrunner.shell import shell_exec
tool = shell_exec(allowed=("sh",), path={PATH!r}, reaper=Reaper())
context = ToolContext(workspace=Path({str(context.workspace)!r}))
anyio.run(tool.invoke, {{"command": "sh", "args": ["-c", {script!r}]}}, context)
"""
    runner = subprocess.Popen([sys.executable, "-c", program])  # noqa: ASYNC220
    try:
        group = await leader(context)
        assert lives(group)
    finally:
        runner.kill()
        runner.wait()
    await eventually(lambda: not lives(group))


async def test_a_reaper_that_was_killed_is_replaced(
    reaper: Reaper, shell: Tool[Any, Any], context: ToolContext
) -> None:
    async with anyio.create_task_group() as group:
        group.start_soon(sh, shell, context, FAMILY)
        pgid = await leader(context)
        first = reaper._process
        assert first is not None
        first.kill()
        first.wait()
        await sh(shell, context, "true")  # tells it of another group, and so finds it gone
        assert reaper._process is not first
        reaper.close()  # as our end would
        await eventually(lambda: not lives(pgid))
        group.cancel_scope.cancel()


async def test_a_hundred_commands_leave_nothing_open(shell: Tool[Any, Any], context: ToolContext) -> None:
    await sh(shell, context, "true")
    before = _open_descriptors()
    for _ in range(5):
        async with anyio.create_task_group() as group:
            for _ in range(20):
                group.start_soon(sh, shell, context, "echo x")
    assert _open_descriptors() == before
