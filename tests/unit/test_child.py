import os
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import anyio
import pytest

from tests.kit.waiting import eventually
from vagus.runtime import child as module
from vagus.runtime.beside import beside
from vagus.runtime.child import Child

STUBBORN = """\
import os, signal, sys, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
print("instance", os.environ["VAGUS_INSTANCE"], flush=True)
time.sleep(60)
"""
GENTLE = """\
import os, signal, sys, time
signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
print("instance", os.environ["VAGUS_INSTANCE"], flush=True)
while True: time.sleep(0.01)
"""


class Made:
    """A child that runs `program`, and what it told."""

    def __init__(self, folder: Path, program: str) -> None:
        (folder / "program.py").write_text(program)
        self.told: list[str] = []
        self.child = Child(
            environ={**os.environ, "PYTHONPATH": str(folder)},
            log=folder / "child.log",
            module="program",
            name="child",
            tell=self.told.append,
        )

    def said(self) -> list[str]:
        return self.child.log.read_text().splitlines() if self.child.log.exists() else []


@asynccontextmanager
async def running(folder: Path, program: str) -> AsyncIterator[Made]:
    made = Made(folder, program)
    async with beside(made.child.keep):
        try:
            yield made
        finally:
            with anyio.CancelScope(shield=True):
                await made.child.stop(0)


def gone(pid: int | None) -> bool:
    assert pid is not None
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    return False


async def test_a_child_that_dies_is_started_again_under_another_name(tmp_path: Path) -> None:
    async with running(tmp_path, GENTLE) as made:
        await eventually(lambda: len(made.said()) == 1)
        first = made.child.instance
        made.child.signal(signal.SIGKILL)
        await eventually(lambda: len(made.said()) == 2)
        assert made.said() == [f"instance {first}", f"instance {made.child.instance}"]
        assert first != made.child.instance
        assert made.child.restarts == 1
    assert made.told[0] == "child was killed by SIGKILL; starting it again in 0.1 s"
    assert made.told[1].startswith("child runs again, pid ")


async def test_the_pauses_before_it_is_started_again_grow(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "BACKOFF_FIRST_S", 0.01)
    monkeypatch.setattr(module, "BACKOFF_MOST_S", 0.03)
    async with running(tmp_path, "raise SystemExit('broken')") as made:
        await eventually(lambda: len(made.told) >= 7, timeout_s=20)
    pauses = [said.rpartition(" in ")[2] for said in made.told if "again in" in said]
    assert pauses[:4] == ["0.01 s", "0.02 s", "0.03 s", "0.03 s"]
    assert made.told[0].startswith("child ended with exit code 1: broken")


async def test_wrong_settings_are_told_apart(tmp_path: Path) -> None:
    async with running(tmp_path, "raise SystemExit(2)") as made:
        await eventually(made.child.hopeless.is_set)
    assert "it said nothing" in made.told[0]


async def test_it_stops_when_asked_and_is_not_started_again(tmp_path: Path) -> None:
    async with running(tmp_path, GENTLE) as made:
        await eventually(made.said)
        pid = made.child.pid
        await made.child.stop(5)
        await made.child.stop(5)
        assert gone(pid)
        assert made.child.pid is None
    assert made.told == []


async def test_one_that_does_not_stop_is_killed(tmp_path: Path) -> None:
    async with running(tmp_path, STUBBORN) as made:
        await eventually(made.said)
        pid = made.child.pid
        await made.child.stop(0.05)
        assert gone(pid)
    assert made.told == ["child has not stopped within 0.05 s: killing it"]


async def test_a_cancellation_alone_does_not_end_it(tmp_path: Path) -> None:
    with anyio.CancelScope() as scope:
        async with running(tmp_path, GENTLE) as made:
            await eventually(made.said)
            pid = made.child.pid
            scope.cancel()
            await anyio.lowlevel.checkpoint()
    assert gone(pid)


async def test_it_stops_during_a_pause(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "BACKOFF_FIRST_S", 60)
    async with running(tmp_path, "raise SystemExit(1)") as made:
        await eventually(lambda: made.told)
        with anyio.fail_after(2):
            await made.child.stop(5)


async def test_a_log_grown_too_long_is_set_aside(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "LOG_BYTES", 10)
    (tmp_path / "child.log").write_text("x" * 11)
    async with running(tmp_path, GENTLE) as made:
        await eventually(lambda: made.said() and made.said()[0].startswith("instance"))
    assert (tmp_path / "child.log.1").read_text() == "x" * 11
