import secrets

import anyio
import blake3
import msgspec
import nats
import pytest

from vagus.contract.blobs import BlobRef
from vagus.contract.errors import Malformed, NotFound
from vagus.contract.subjects import Subjects
from vagus.runtime import blobs as module
from vagus.runtime.blobs import Blobs
from vagus.runtime.bus import Bus
from vagus.runtime.embedded import EmbeddedServer
from vagus.runtime.provision import ensure_blobs


@pytest.fixture
async def name(bus: Bus, subjects: Subjects) -> str:
    name = subjects.named("BLOBS")
    await ensure_blobs(bus, name)
    return name


@pytest.fixture
def blobs(bus: Bus, name: str) -> Blobs:
    return Blobs(bus, name)


async def stored(bus: Bus, name: str) -> int:
    info = await bus.api(f"STREAM.INFO.OBJ_{name}")
    return int(info["state"]["messages"])  # type: ignore[index]


@pytest.mark.parametrize("size", [0, 1, module.CHUNK_BYTES, module.CHUNK_BYTES * 3 + 1])
async def test_what_was_put_is_got(blobs: Blobs, size: int) -> None:
    data = secrets.token_bytes(size)
    reference = await blobs.put("s", data, "text/plain")
    assert (reference.size, reference.media_type) == (size, "text/plain")
    assert await blobs.get("s", reference) == data


async def test_a_reference_is_json_as_on_the_wire(blobs: Blobs) -> None:
    reference = await blobs.put("s", b"", "text/plain")
    assert msgspec.json.encode(reference) == (
        b'{"$blob":"blake3:af1349b9f5f9a1a6a0404dea36dcc9499bcb25c9adc112b7cc9a93cae41f3262",'
        b'"size":0,"media_type":"text/plain"}'
    )


async def test_the_same_bytes_are_stored_once_for_a_session(blobs: Blobs, bus: Bus, name: str) -> None:
    await blobs.put("s", b"x")
    once = await stored(bus, name)
    await blobs.put("s", b"x")
    assert await stored(bus, name) == once
    await blobs.put("t", b"x")
    assert await stored(bus, name) == 2 * once


async def test_the_same_bytes_stored_at_the_same_time_leave_nothing_over(
    blobs: Blobs, bus: Bus, name: str
) -> None:
    async with anyio.create_task_group() as group:
        for _ in range(5):
            group.start_soon(blobs.put, "s", b"x" * 1000)
    assert await stored(bus, name) == 2
    reference = await blobs.put("s", b"x" * 1000)
    assert await blobs.get("s", reference) == b"x" * 1000


async def test_a_blob_belongs_to_its_session(blobs: Blobs) -> None:
    reference = await blobs.put("s", b"x")
    with pytest.raises(NotFound):
        await blobs.get("t", reference)


@pytest.mark.parametrize("named", ["", "blake3:", "sha256:" + "0" * 64, "blake3:" + "0" * 63 + "/"])
async def test_what_is_no_reference_is_malformed(blobs: Blobs, named: str) -> None:
    with pytest.raises(Malformed):
        await blobs.get("s", BlobRef(blob=named, size=1, media_type="text/plain"))


async def test_a_damaged_blob_is_malformed(blobs: Blobs, bus: Bus, name: str) -> None:
    reference = await blobs.put("s", b"x" * (module.CHUNK_BYTES + 1))
    info = await bus.api(f"STREAM.INFO.OBJ_{name}", {"subjects_filter": f"$O.{name}.C.>"})
    (chunks,) = info["state"]["subjects"]  # type: ignore[index]
    await bus.api(f"STREAM.PURGE.OBJ_{name}", {"filter": chunks, "keep": 1})
    with pytest.raises(Malformed, match="damaged"):
        await blobs.get("s", reference)


async def test_other_clients_read_and_write_the_same_store(
    broker: EmbeddedServer, blobs: Blobs, name: str
) -> None:
    client = await nats.connect(broker.url)
    other = await client.jetstream().object_store(name)
    data = secrets.token_bytes(module.CHUNK_BYTES + 5)
    reference = await blobs.put("s", data)
    assert (await other.get("s/" + reference.blob.removeprefix("blake3:"))).data == data
    theirs = BlobRef(blob="blake3:" + blake3.blake3(b"y").hexdigest(), size=1, media_type="text/plain")
    await other.put("s/" + theirs.blob.removeprefix("blake3:"), b"y")
    assert await blobs.get("s", theirs) == b"y"
    await client.close()


async def test_what_was_removed_leaves_nothing_and_may_come_again(bus: Bus, blobs: Blobs, name: str) -> None:
    data = secrets.token_bytes(module.CHUNK_BYTES + 1)
    reference = await blobs.put("s", data)
    await blobs.remove("s", reference)
    await blobs.remove("s", reference)
    assert await stored(bus, name) == 0
    with pytest.raises(NotFound):
        await blobs.get("s", reference)
    assert await blobs.get("s", await blobs.put("s", data)) == data
