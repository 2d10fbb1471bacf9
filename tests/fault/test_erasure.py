"""An erasure goes on wherever the kernel that carried it out has died."""

import signal
from contextlib import suppress
from pathlib import Path

import anyio

import vagus
from tests.kit.processes import process
from tests.kit.system import system
from tests.kit.traces import found
from tests.kit.waiting import eventually
from vagus.contract.subjects import Subjects
from vagus.runtime.embedded import EmbeddedServer
from vagus_kernel.erasing import CLOSED, DONE, LOG_REMOVED, NOTED, SWEPT, TOLD

POLICY = vagus.PolicySet.preset("pro")
PATIENT_S = 90.0
POINTS = (CLOSED, NOTED, TOLD, LOG_REMOVED, SWEPT, DONE)


async def test_an_erasure_survives_a_death_at_each_of_its_steps(
    own_broker: EmbeddedServer, tmp_path: Path
) -> None:
    async with system(own_broker.url, Subjects(root="vagus"), tmp_path, erase_settle_s=0.2) as whole:
        session = await whole.client.create_session(owner="me", policy=POLICY, session_id="s1")
        await session.tick("remember this")
        events = sum(branch.head_sequence for branch in (await session.summary()).branches)
        await whole.services["kernel3"].drain()
        for point in POINTS:
            environ = whole.environ | {"VAGUS_INSTANCE": "mortal", "VAGUS_FAULT": point}
            async with (
                process("vagus_kernel", environ, tmp_path / f"{point}.log", ready=False) as mortal,
                anyio.create_task_group() as tasks,
            ):
                tasks.start_soon(ask, whole.client)
                assert await mortal.ended(PATIENT_S) == -signal.SIGKILL, point
                tasks.cancel_scope.cancel()
        (order,) = await whole.client.erasures()
        await whole.start("kernel", "last")
        tombstone = await whole.client.erase("s1", reason="again", timeout_s=PATIENT_S)
        assert tombstone == order
        assert tombstone.erased_at is not None
        assert tombstone.events == events + 1  # it was closed, once
        assert tombstone.reason == "first"

        hits: list[str] = []

        async def clean() -> bool:
            hits[:] = await found(whole.url, "s1")
            return {hit.split()[0] for hit in hits} == {"KV_VAGUS_ERASED"}

        assert await eventually(clean, timeout_s=PATIENT_S), hits
        assert not (whole.root / "sessions" / "s1").exists()


async def test_what_a_killed_server_brings_back_is_removed_again(
    own_broker: EmbeddedServer, tmp_path: Path
) -> None:
    async with system(own_broker.url, Subjects(root="vagus"), tmp_path, erase_settle_s=0.2) as whole:
        for name in ("s1", "s2"):
            session = await whole.client.create_session(owner="me", policy=POLICY, session_id=name)
            for _ in range(2):  # both times its entries in the registry and of the archive are replaced
                await session.tick("remember this")
                await whole.client.archive_session(name)
        await whole.client.erase("s1")
        await whole.client.restore_session("s2")
        own_broker.kill()
        await own_broker.start()

        async def clean() -> bool:
            return {hit.split()[0] for hit in await found(whole.url, "s1")} == {"KV_VAGUS_ERASED"}

        assert await eventually(clean, timeout_s=PATIENT_S)
        assert (await (await whole.client.session("s2")).verify()).ok


async def ask(client: vagus.Client) -> None:
    with suppress(vagus.VagusError):
        await client.erase("s1", reason="first", timeout_s=PATIENT_S)
