"""Appends commits and settles what became of those whose acknowledgement was lost."""

from base64 import b64decode
from typing import Final
from uuid import uuid4

import anyio
import msgspec

from vagus.contract import limits
from vagus.contract.codec import Sealed, commit_headers
from vagus.contract.errors import Conflict, OutcomeUnknown, SessionNotFound, Transient, Unavailable
from vagus.contract.subjects import Subjects
from vagus.runtime.bus import ApiError, Bus
from vagus.runtime.eventlog import Expected, split
from vagus.runtime.jetstream_log.names import StreamNames
from vagus.runtime.jetstream_log.stored import NO_MESSAGE, NO_STREAM, read_error

_BATCH_INCOMPLETE: Final = 10176
_BATCH_REPEATS_ID: Final = 10201
"""What a batch that is sent again is refused with while its ids are in the duplicate window; then 10071."""
CHECK_S: Final = 1.0
"""What asking for a stream that does not answer may take: it may only be without a leader."""
_RETRY_FIRST_S: Final = 0.05
_RETRY_MOST_S: Final = 1.0


class Write(msgspec.Struct, frozen=True):
    """One commit on its way."""

    session_id: str
    subject: str
    parts: tuple[Sealed, ...]
    after: int
    """The stream's last sequence as the writer believes."""
    traceparent: str | None


class Writer:
    """The writing side of a `JetStreamLog`."""

    def __init__(self, bus: Bus, subjects: Subjects, names: StreamNames, *, settle_s: float) -> None:
        self._bus = bus
        self._subjects = subjects
        self._names = names
        self._settle_s = settle_s

    async def commit(
        self, session_id: str, branch_id: str, sealed: Sealed, expected: Expected, traceparent: str | None
    ) -> int:
        """See `EventLog.commit`."""
        write = Write(
            session_id,
            self._subjects.log(session_id, branch_id),
            split(sealed, self._bus.max_payload),
            expected.sequence,
            traceparent,
        )
        try:
            return await self._attempt(write)
        except Unavailable:
            await self._check_stream(session_id)
            raise
        except OutcomeUnknown as lost:
            return await self._settle(write, lost)

    async def _settle(self, write: Write, lost: OutcomeUnknown) -> int:
        """Send the same again until the server says what became of it.

        The expectation makes this safe: the bytes can only ever stand right after `write.after`.
        """
        pause_s = _RETRY_FIRST_S
        with anyio.move_on_after(self._settle_s):
            while True:
                await anyio.sleep(pause_s)
                pause_s = min(2 * pause_s, _RETRY_MOST_S)
                try:
                    return await self._attempt(write)
                except (OutcomeUnknown, Transient) as error:
                    lost.__cause__ = error
        raise OutcomeUnknown(
            f"the commit to {write.subject} after {write.after} was not settled in {self._settle_s:g} s; "
            "repeat it, or read the log"
        ) from lost

    async def _attempt(self, write: Write) -> int:
        try:
            if len(write.parts) == 1:
                return await self._store(write)
            return await self._store_batch(write)
        except Conflict as refusal:
            return await self._recognise(write, refusal)

    async def _store(self, write: Write) -> int:
        sealed = write.parts[0]
        stored = await self._bus.store(
            write.subject,
            sealed.payload,
            headers=commit_headers(sealed, write.traceparent),
            expected_last_sequence=write.after,
        )
        if stored.duplicate:
            raise Conflict(f"the events are on the log already, in commit {stored.sequence}")
        return stored.sequence

    async def _store_batch(self, write: Write) -> int:
        """All parts or none (ADR-50): the server holds them back until the last has come."""
        *staged, last = (commit_headers(part, write.traceparent) for part in write.parts)
        batch = uuid4().hex
        for number, (headers, part) in enumerate(zip(staged, write.parts, strict=False), 1):
            headers |= {"Nats-Batch-Id": batch, "Nats-Batch-Sequence": str(number)}
            if number == 1:
                headers["Nats-Expected-Last-Sequence"] = str(write.after)
            await self._bus.publish(write.subject, part.payload, headers=headers)
        last |= {
            "Nats-Batch-Id": batch,
            "Nats-Batch-Sequence": str(len(write.parts)),
            "Nats-Batch-Commit": "1",
        }
        try:
            return (await self._bus.store(write.subject, write.parts[-1].payload, headers=last)).sequence
        except ApiError as error:
            if error.err_code == _BATCH_REPEATS_ID:
                raise Conflict("the events are on the log already") from error
            if error.err_code == _BATCH_INCOMPLETE:
                raise Unavailable("a part of the commit was lost on the way, so none was stored") from error
            raise

    async def _recognise(self, write: Write, refusal: Conflict) -> int:
        """The sequence if what follows `write.after` is this very write, sent before; else raises `refusal`.

        Bytes are compared, not ids: two kernels that decide the same input make the same ids, at different
        times. The leader is asked, because a follower may not have it yet.
        """
        stream = self._names.of(write.session_id)
        try:
            answer = await self._bus.api(f"STREAM.MSG.GET.{stream}", {"seq": write.after + 1})
        except ApiError as error:
            if error.err_code == NO_MESSAGE:
                raise refusal from None
            raise read_error(write.session_id, error) from error
        except Unavailable as error:
            raise OutcomeUnknown(f"{refusal.message}; and the log cannot be read") from error
        found = msgspec.convert(answer["message"], _StoredMessage)
        if found.subject == write.subject and b64decode(found.data) == write.parts[0].payload:
            return write.after + len(write.parts)
        raise refusal

    async def _check_stream(self, session_id: str) -> None:
        """Raise `SessionNotFound` if nobody answered because there is no stream."""
        try:
            await self._bus.api(f"STREAM.INFO.{self._names.of(session_id)}", timeout_s=CHECK_S)
        except ApiError as error:
            if error.err_code == NO_STREAM:
                raise SessionNotFound(f"session not found: {session_id}") from error
        except (OutcomeUnknown, Unavailable):
            return  # as unavailable as before


class _StoredMessage(msgspec.Struct):
    subject: str
    data: str = ""


SETTLE_S: Final = 3 * limits.REQUEST_TIMEOUT_S
"""A server that restarts or elects a leader is back by then."""
