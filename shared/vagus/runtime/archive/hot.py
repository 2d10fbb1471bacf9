"""Streams that are logs, to whoever moves logs: read as they are, filled, opened, removed.

Only kernels may do any of this.
"""

from base64 import b64decode
from collections.abc import AsyncGenerator
from typing import Final

import anyio
import msgspec

from vagus.contract import limits
from vagus.contract.archives import ArchivedPart, KeptCommit
from vagus.contract.errors import Conflict, Malformed
from vagus.contract.streams import restoring_log, session_log
from vagus.contract.subjects import Subjects
from vagus.runtime import clock
from vagus.runtime.bus import ApiError, Bus, Message
from vagus.runtime.provision import ensure_stream, stream_config

_NO_STREAM: Final = 10059
_PAGE: Final = 256
_PAGE_BYTES: Final = 2 * limits.MIB
_REREAD_S: Final = 0.05
_SENT_TO_READERS: Final = frozenset(
    {
        "Nats-Stream",
        "Nats-Subject",
        "Nats-Sequence",
        "Nats-Time-Stamp",
        "Nats-Num-Pending",
        "Nats-Last-Sequence",
        "Nats-UpTo-Sequence",
    }
)
"""Headers that are not the message's: the server adds them to what it tells."""


class _State(msgspec.Struct):
    last_seq: int


class _Info(msgspec.Struct):
    state: _State


class _Stored(msgspec.Struct):
    class Message(msgspec.Struct):
        data: str = ""

    message: Message


class HotStreams:
    """Of all sessions. All methods may also raise `Unavailable` and `OutcomeUnknown`."""

    def __init__(self, bus: Bus, subjects: Subjects, replicas: int) -> None:
        self._bus = bus
        self._subjects = subjects
        self._replicas = replicas

    async def head(self, session_id: str, generation: int) -> int | None:
        """The stream sequence of its last message; None: there is no such stream."""
        try:
            answer = await self._bus.api(
                f"STREAM.INFO.{self._subjects.session_stream(session_id, generation)}"
            )
        except ApiError as error:
            if error.err_code == _NO_STREAM:
                return None
            raise
        return msgspec.convert(answer, _Info).state.last_seq

    async def messages(self, session_id: str, generation: int) -> AsyncGenerator[KeptCommit, None]:
        """All messages that it has now, in order, as they are stored.

        Raises `Malformed` if one is missing or cannot be kept.
        """
        head, place = await self.head(session_id, generation) or 0, 0
        while place < head:
            for message in await self._page(session_id, generation, place + 1):
                place = int(message.headers["Nats-Sequence"])
                yield _kept(session_id, place, message)

    async def _page(self, session_id: str, generation: int, start: int) -> list[Message]:
        """At least one message from `start` on, without a gap; a replica that is behind is asked again."""
        stream = self._subjects.session_stream(session_id, generation)
        wanted = {"seq": start, "batch": _PAGE, "max_bytes": _PAGE_BYTES}
        with anyio.move_on_after(limits.REQUEST_TIMEOUT_S):
            while True:
                *found, _ = await self._bus.collect(
                    f"$JS.API.DIRECT.GET.{stream}",
                    msgspec.json.encode(wanted),
                    last=lambda reply: reply.status != 0,
                    timeout_s=limits.REQUEST_TIMEOUT_S,
                )
                whole = [
                    message
                    for place, message in enumerate(found, start)
                    if int(message.headers["Nats-Sequence"]) == place
                ]
                if whole:
                    return whole
                await anyio.sleep(_REREAD_S)
        raise Malformed(f"commit {start} of session {session_id} is lost or damaged: it cannot be archived")

    async def make(self, session_id: str, generation: int) -> None:
        """Make the stream that a log is to be restored to; nobody else writes to it."""
        await ensure_stream(self._bus, restoring_log(self._subjects, session_id, generation), self._replicas)

    async def fill(self, session_id: str, generation: int, part: ArchivedPart) -> None:
        """Store the messages of a part as they were, all of them when this returns.

        Each names its predecessor, and nobody else writes here: so the last one's acknowledgement is that of
        all. Those of a commit in several messages are staged until its last one has come.
        """
        for kept in part.commits[:-1]:
            await self._bus.publish(
                self._subjects.restore(session_id, generation, kept.branch_id),
                kept.payload.encode(),
                headers=kept.headers,
            )
        last = part.commits[-1]
        subject = self._subjects.restore(session_id, generation, last.branch_id)
        if "Nats-Batch-Id" in last.headers and "Nats-Batch-Commit" not in last.headers:
            await self._bus.publish(subject, last.payload.encode(), headers=last.headers)
            return
        stored = await self._bus.store(subject, last.payload.encode(), headers=last.headers)
        if stored.sequence != last.stream_sequence or stored.duplicate:
            raise Conflict(
                f"commit {last.stream_sequence} of session {session_id} was restored as {stored.sequence}"
            )

    async def ends_with(self, session_id: str, generation: int, last: KeptCommit) -> bool:
        """Whether this is its last message."""
        if await self.head(session_id, generation) != last.stream_sequence:
            return False
        stream = self._subjects.session_stream(session_id, generation)
        answer = await self._bus.api(f"STREAM.MSG.GET.{stream}", {"seq": last.stream_sequence})
        return b64decode(msgspec.convert(answer, _Stored).message.data) == last.payload.encode()

    async def open(self, session_id: str, generation: int) -> None:
        """Let the restored stream be the session's: from now on it is written to. Idempotent.

        Raises `Conflict` if it has been archived again since.
        """
        spec = session_log(self._subjects, session_id, generation)
        try:
            await self._bus.api(f"STREAM.UPDATE.{spec.name}", stream_config(spec, self._replicas))
        except ApiError as error:
            if error.err_code == _NO_STREAM:
                raise Conflict(f"{spec.name} is not the log of {session_id} any more") from error
            raise

    async def remove(self, session_id: str, generation: int) -> None:
        """Remove a stream that is not the log any more, nor ever will be. Idempotent."""
        try:
            await self._bus.api(f"STREAM.DELETE.{self._subjects.session_stream(session_id, generation)}")
        except ApiError as error:
            if error.err_code != _NO_STREAM:
                raise


def _kept(session_id: str, place: int, message: Message) -> KeptCommit:
    headers = {name: value for name, value in message.headers.items() if name not in _SENT_TO_READERS}
    try:
        payload = message.data.decode()
    except UnicodeDecodeError as error:
        raise Malformed(f"commit {place} of session {session_id} is damaged: it is not text") from error
    return KeptCommit(
        stream_sequence=place,
        branch_id=Subjects.last_token(message.headers["Nats-Subject"]),
        stored_at=clock.format_ns(clock.parse(message.headers["Nats-Time-Stamp"])),
        headers=headers,
        payload=payload,
    )
