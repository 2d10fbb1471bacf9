"""A kernel is killed at every step of moving a log; the next one finds the log whole, in one place."""

from contextlib import suppress
from pathlib import Path
from typing import Any

import anyio
import pytest

import vagus
from tests.integration.test_archive import POLICY, log_streams
from tests.kit.processes import process
from tests.kit.system import system
from tests.kit.waiting import eventually
from vagus.contract.subjects import Subjects
from vagus.runtime.embedded import EmbeddedServer

THERE = ("archive_begun", "archive_copied", "archive_verified", "archive_recorded", "archive_removed")
BACK = ("restore_claimed", "restore_filled", "restore_recorded", "restore_opened")


@pytest.mark.parametrize("point", [*THERE, *BACK])
async def test_a_log_survives_the_death_of_the_kernel_that_moves_it(
    broker: EmbeddedServer, subjects: Subjects, tmp_path: Path, point: str
) -> None:
    async with system(broker.url, subjects, tmp_path, services="") as whole:
        environ = whole.environ | {"VAGUS_INSTANCE": "mortal", "VAGUS_FAULT": f"kernel.{point}"}
        async with process("vagus_kernel", environ, tmp_path / "kernel.log") as mortal:
            session = await whole.client.create_session(owner="me", policy=POLICY, session_id="s")
            await session.tick("one")
            before = await session.read_events(limit=1000)

            async def move() -> None:
                with suppress(vagus.VagusError):
                    await whole.client.archive_session("s")
                    if point == "restore_filled":
                        await session.tick("two")  # it is redelivered, and ends under the next kernel
                    await whole.client.restore_session("s")

            async with anyio.create_task_group() as tasks:
                tasks.start_soon(move)
                assert await mortal.ended() == -9
                tasks.cancel_scope.cancel()
        await whole.start("kernel", "mortal")
        assert (await session.read_events(limit=1000))[: len(before)] == before
        output = await session.tick("three", timeout_s=60)
        assert output.reason == "completed"

        async def in_one_place() -> None:
            await whole.client.restore_session("s")  # what was redelivered may have archived it again
            info: Any = await whole.bus.api(f"STREAM.INFO.{subjects.named('ARCHIVE')}")
            assert info["state"]["messages"] == 0
            assert len(await log_streams(whole.bus, subjects)) == 1
            restoring = subjects.restore("s", "*")
            assert not (await whole.bus.api("STREAM.NAMES", {"subject": restoring})).get("streams")
            assert (await session.verify()).ok
            heartbeats = [e for e in await session.read_events(limit=1000) if e.kind.type == "Heartbeat"]
            assert len(heartbeats) == (3 if point == "restore_filled" else 2)

        async def settled() -> bool:
            await in_one_place()
            return True

        await eventually(settled, timeout_s=60, every_s=0.2)
