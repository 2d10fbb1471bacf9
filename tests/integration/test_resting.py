"""Sessions that nobody speaks to: what they have is kept while there is time."""

from pathlib import Path

import msgspec
import pytest

from tests.kit.system import system
from tests.kit.waiting import eventually
from vagus.contract import streams
from vagus.contract.policy import PolicySet
from vagus.contract.sessions import SessionSummary
from vagus.contract.subjects import Subjects
from vagus.runtime.bucket import Bucket
from vagus.runtime.embedded import EmbeddedServer
from vagus.runtime.jetstream_log import JetStreamLog
from vagus_kernel import kernel


class _Kept(msgspec.Struct):
    stream_sequence: int


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Sessions are quiet in no time."""
    monkeypatch.setattr(kernel, "SWEEP_S", 0.05)
    monkeypatch.setattr(kernel, "QUIET_S", 0.1)


async def test_a_quiet_session_is_kept_and_a_kernel_that_drains_then_writes_nothing(
    broker: EmbeddedServer, subjects: Subjects, tmp_path: Path, quick: None
) -> None:
    async with system(broker.url, subjects, tmp_path) as whole:
        snapshots = Bucket(whole.bus, subjects.named(streams.SNAPSHOTS))
        registry = Bucket(whole.bus, subjects.named(streams.SESSIONS))
        log = JetStreamLog(whole.bus, subjects)
        session = await whole.client.create_session(owner="ada", policy=PolicySet.preset("default"))

        async def kept() -> tuple[int, int] | None:
            head = await log.head(session.id)
            snapshot, entry = await snapshots.get(session.id), await registry.get(session.id)
            if snapshot is None or entry is None:
                return None
            summary = msgspec.json.decode(entry.value, type=SessionSummary)
            sequences = {msgspec.json.decode(snapshot.value, type=_Kept).stream_sequence}
            return (
                (snapshot.revision, entry.revision)
                if sequences | {summary.stream_sequence} == {head}
                else None
            )

        first = await eventually(kept)
        await session.tick("say hello")
        second = await eventually(kept)
        assert first is not None
        assert second is not None
        assert second[0] > first[0]
        await whole.services["kernel3"].drain()
        assert await kept() == second
