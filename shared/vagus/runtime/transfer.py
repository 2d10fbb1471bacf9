"""A stream as one file: out of a server by its snapshots, into another as it was.

Sequences, times, headers, message ids and durable consumers are kept, so that whoever remembers a place in
the stream finds it again. The file is the server's own format; other tools for NATS read it too.
"""

from collections.abc import AsyncIterator
from typing import Final

import anyio
import msgspec
from blake3 import blake3

from vagus.contract import limits
from vagus.contract.errors import Malformed, OutcomeUnknown, Unavailable
from vagus.contract.subjects import Subjects
from vagus.runtime.answers import read_answer
from vagus.runtime.bus import Bus, Message
from vagus.runtime.listing import listed

CHUNK_BYTES: Final = 128 * limits.KIB
WINDOW_BYTES: Final = 4 * limits.MIB
"""On their way at a time: what we hold in memory at most."""
SILENCE_S: Final = 30.0
"""A server that neither sends nor takes a chunk for so long is given up."""


class StreamState(msgspec.Struct, frozen=True):
    """What a stream holds."""

    messages: int
    bytes: int
    first_seq: int
    last_seq: int


class Transfer(msgspec.Struct, frozen=True, kw_only=True):
    """A stream in a file, and what a server must know to make it again."""

    stream: str
    state: StreamState
    config: dict[str, object]
    """As the server told it."""
    size: int
    """Of the file, in bytes."""
    digest: str
    """`blake3:` and the hex digits of the file's BLAKE3."""


async def names(bus: Bus, subjects: Subjects) -> list[str]:
    """Of all streams of an installation, those behind its buckets as well; in no order."""
    found = await listed(
        lambda offset: bus.api("STREAM.NAMES", {"offset": offset}),
        lambda answer: msgspec.convert(answer.get("streams") or [], list[str]),
    )
    own = subjects.named("")
    return [name for name in found if name.removeprefix("KV_").removeprefix("OBJ_").startswith(own)]


async def save(bus: Bus, stream: str, path: anyio.Path) -> Transfer:
    """Write a stream to a file; what comes to it meanwhile may be in it or not.

    Raises:
        ApiError: There is no such stream, or it is not kept in files.
        Unavailable, OutcomeUnknown: The server broke off, or fell silent; the file is incomplete.
    """
    inbox = bus.new_inbox()
    request = {"deliver_subject": inbox, "chunk_size": CHUNK_BYTES, "window_size": WINDOW_BYTES}
    async with bus.subscribe(inbox) as chunks:
        answer = await bus.api(f"STREAM.SNAPSHOT.{stream}", request, timeout_s=SILENCE_S)
        digest, size = blake3(), 0
        async with await path.open("wb") as file:
            async for chunk in _until_end(stream, chunks):
                digest.update(chunk.data)
                size += len(chunk.data)
                await file.write(chunk.data)
                if chunk.reply:
                    bus.send(chunk.reply)
    return Transfer(
        stream=stream,
        state=msgspec.convert(answer.get("state"), StreamState),
        config=msgspec.convert(answer.get("config"), dict[str, object]),
        size=size,
        digest=f"blake3:{digest.hexdigest()}",
    )


async def load(bus: Bus, transfer: Transfer, path: anyio.Path, *, replicas: int | None = None) -> StreamState:
    """Make a stream from its file; `replicas`: with so many copies instead of as many as it had.

    Raises:
        Conflict, ApiError: The server has such a stream, or does not make one of these settings.
        Malformed: The file is not the one that was written.
        Unavailable, OutcomeUnknown: The server fell silent; the stream is there or not.
    """
    await check(transfer, path)
    config = transfer.config | ({} if replicas is None else {"num_replicas": replicas})
    body = {"config": config, "state": msgspec.to_builtins(transfer.state)}
    answer = await bus.api(f"STREAM.RESTORE.{transfer.stream}", body, timeout_s=SILENCE_S)
    subject = msgspec.convert(answer.get("deliver_subject"), str)
    async with await path.open("rb") as file:
        while chunk := await file.read(CHUNK_BYTES):
            told = await bus.request(subject, chunk, timeout_s=SILENCE_S)
            if told.data:
                read_answer(told.data)  # nothing but a refusal has a body
    made = read_answer((await bus.request(subject, timeout_s=SILENCE_S)).data)
    return msgspec.convert(made.get("state"), StreamState)


async def check(transfer: Transfer, path: anyio.Path) -> None:
    """Raise `Malformed` if the file is not the one that was written."""
    digest, size = blake3(), 0
    try:
        async with await path.open("rb") as file:
            while chunk := await file.read(CHUNK_BYTES):
                digest.update(chunk)
                size += len(chunk)
    except OSError as error:
        raise Malformed(f"cannot read {path}: {error.strerror}") from error
    if (size, f"blake3:{digest.hexdigest()}") != (transfer.size, transfer.digest):
        raise Malformed(f"{path} is not what was saved of {transfer.stream}: its digest is another")


async def _until_end(stream: str, chunks: AsyncIterator[Message]) -> AsyncIterator[Message]:
    """The chunks that follow; an empty one ends them, and may tell why."""
    while True:
        chunk: Message | None = None
        with anyio.move_on_after(SILENCE_S):
            chunk = await anext(chunks)
        if chunk is None:
            raise OutcomeUnknown(f"{stream}: the server sent no more of it for {SILENCE_S:g} s")
        if chunk.status >= 400:
            raise Unavailable(f"{stream}: the server broke off: {chunk.status} {chunk.description}")
        if not chunk.data:
            return
        yield chunk
