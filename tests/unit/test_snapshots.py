"""Snapshots are read back as they were written, or not at all."""

from typing import cast

import msgspec
import pytest

from vagus.contract.blobs import BlobRef
from vagus.contract.errors import Conflict
from vagus.contract.extensions import Memory
from vagus.contract.models import ConversationTurn
from vagus.runtime.blobs import Blobs
from vagus.runtime.bucket import Bucket, Entry
from vagus_kernel.snapshots import INLINE_BYTES, Snapshot, Snapshots
from vagus_kernel.state import Branch, Session


class FakeBucket:
    """One key, compare-and-set."""

    def __init__(self) -> None:
        self.value = b""
        self.revision = 0

    async def get(self, key: str) -> Entry | None:
        return Entry(key, self.value, self.revision) if self.revision else None

    async def create(self, key: str, value: bytes) -> int:
        return await self.update(key, value, 0)

    async def update(self, key: str, value: bytes, revision: int) -> int:
        if revision != self.revision:
            raise Conflict
        self.value, self.revision = value, revision + 1
        return self.revision


class FakeBlobs:
    """Values by their place."""

    def __init__(self) -> None:
        self.values: list[bytes] = []

    async def put(self, session: str, data: bytes, media_type: str) -> BlobRef:
        self.values.append(data)
        return BlobRef(blob=f"blake3:{len(self.values) - 1:064x}", size=len(data), media_type=media_type)

    async def get(self, session: str, ref: BlobRef) -> bytes:
        return self.values[int(ref.blob.removeprefix("blake3:"), 16)]


@pytest.fixture
def bucket() -> FakeBucket:
    return FakeBucket()


@pytest.fixture
def snapshots(bucket: FakeBucket) -> Snapshots:
    return Snapshots(cast("Bucket", bucket), cast("Blobs", FakeBlobs()))


def snapshot(content: str = "hello") -> Snapshot:
    memory = Memory(history=(ConversationTurn(role="user", content=content),))
    session = Session(session_id="s", agent_id="a", branches={"main": Branch(memory=memory)})
    return Snapshot(stream_sequence=7, session=session, digests={"main": "blake3:0"})


@pytest.mark.parametrize("content", ["hello", "x" * (INLINE_BYTES + 1)], ids=["in the bucket", "as a blob"])
async def test_a_snapshot_is_read_as_it_was_written(snapshots: Snapshots, content: str) -> None:
    revision = await snapshots.write("s", snapshot(content), 0)
    assert await snapshots.read("s") == (snapshot(content), revision)


async def test_there_is_none_at_first(snapshots: Snapshots) -> None:
    assert await snapshots.read("s") == (None, 0)


async def test_one_that_was_changed_is_not_trusted(snapshots: Snapshots, bucket: FakeBucket) -> None:
    await snapshots.write("s", snapshot(), 0)
    bucket.value = bucket.value.replace(b"hello", b"hallo")
    assert await snapshots.read("s") == (None, 1)


@pytest.mark.parametrize(
    "value", [b"", b"garbage", b"[]", b"{}", b"\xff", b"[" * 100_000, b'{"fold_version":3}']
)
async def test_garbage_is_discarded_and_written_over(
    snapshots: Snapshots, bucket: FakeBucket, value: bytes
) -> None:
    bucket.value, bucket.revision = value, 5
    nothing, revision = await snapshots.read("s")
    assert nothing is None
    await snapshots.write("s", snapshot(), revision)
    assert await snapshots.read("s") == (snapshot(), 6)


async def test_one_of_another_fold_is_not_read(snapshots: Snapshots, bucket: FakeBucket) -> None:
    await snapshots.write("s", snapshot(), 0)
    envelope = msgspec.json.decode(bucket.value, type=dict[str, msgspec.Raw])
    bucket.value = msgspec.json.encode(envelope | {"fold_version": 0})
    assert await snapshots.read("s") == (None, 1)


async def test_another_writers_snapshot_stays(snapshots: Snapshots) -> None:
    theirs = await snapshots.write("s", snapshot("theirs"), 0)
    assert await snapshots.write("s", snapshot("ours"), 0) == theirs
    assert await snapshots.read("s") == (snapshot("theirs"), theirs)
