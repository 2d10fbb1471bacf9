"""Snapshots: a session's folded state at one point of its log, so that activation need not read all of it.

Only a projection: one that does not check out is left unread, and the log is folded from its beginning.
"""

import logging
from typing import Final

import blake3
import msgspec

from vagus.contract.blobs import BlobRef
from vagus.contract.errors import Conflict, Permanent, VagusError
from vagus.runtime.blobs import Blobs
from vagus.runtime.bucket import Bucket
from vagus_kernel.evolve import FOLD_VERSION
from vagus_kernel.state import Session

_log = logging.getLogger(__name__)

INLINE_BYTES = 256 * 1024
"""A longer snapshot is a blob: the bucket's values must fit a message."""


class Snapshot(msgspec.Struct, frozen=True, kw_only=True):
    """All branches of a session as of one stream sequence."""

    stream_sequence: int
    session: Session
    digests: dict[str, str]
    """Of the last event of each branch."""


_NOTHING: Final = msgspec.Raw(b"null")


class _Envelope(msgspec.Struct, frozen=True, kw_only=True):
    fold_version: int
    stream_sequence: int
    digest: str
    body: msgspec.Raw = _NOTHING
    """Null when a blob holds it. No union: in one, msgspec does not keep the text as it is."""
    blob: BlobRef | None = None


class Snapshots:
    """The bucket of snapshots."""

    def __init__(self, bucket: Bucket, blobs: Blobs) -> None:
        self._bucket = bucket
        self._blobs = blobs

    async def read(self, session_id: str) -> tuple[Snapshot | None, int]:
        """The snapshot, None if there is none that can be trusted; and the revision to replace.

        Raises:
            Unavailable, OutcomeUnknown: It cannot be told.
        """
        entry = await self._bucket.get(session_id)
        if entry is None:
            return None, 0
        try:
            return await self._read(session_id, entry.value), entry.revision
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError, Permanent) as error:
            _log.warning("the snapshot of session %s is discarded: %s", session_id, error)
            return None, entry.revision

    async def _read(self, session_id: str, value: bytes) -> Snapshot | None:
        envelope = msgspec.json.decode(value, type=_Envelope)
        if envelope.fold_version != FOLD_VERSION:
            return None
        body = bytes(envelope.body)
        if envelope.blob is not None:
            body = await self._blobs.get(session_id, envelope.blob)
        if blake3.blake3(body).hexdigest() != envelope.digest:
            raise msgspec.ValidationError("the digest does not match")
        return msgspec.json.decode(body, type=Snapshot)

    async def write(self, session_id: str, snapshot: Snapshot, revision: int) -> int:
        """Replace the snapshot that had `revision` (0: none); returns the new revision.

        A revision that is out of date means that somebody else keeps it: theirs stays, and its
        revision is told.
        """
        body = msgspec.json.encode(snapshot)
        inline = len(body) <= INLINE_BYTES
        envelope = _Envelope(
            fold_version=FOLD_VERSION,
            stream_sequence=snapshot.stream_sequence,
            digest=blake3.blake3(body).hexdigest(),
            body=msgspec.Raw(body) if inline else _NOTHING,
            blob=None if inline else await self._blobs.put(session_id, body, "application/json"),
        )
        value = msgspec.json.encode(envelope)
        before = await self._bucket.get(session_id)
        try:
            if revision:
                revision = await self._bucket.update(session_id, value, revision)
            else:
                revision = await self._bucket.create(session_id, value)
        except Conflict:
            entry = await self._bucket.get(session_id)
            return entry.revision if entry is not None else 0
        if before is not None:
            await self._remove_blob(session_id, before.value, envelope.blob)
        return revision

    async def _remove_blob(self, session_id: str, value: bytes, kept: BlobRef | None) -> None:
        """The blob of the snapshot that was replaced; whoever reads it at this moment folds the log."""
        try:
            blob = msgspec.json.decode(value, type=_Envelope).blob
            if blob is not None and blob != kept:
                await self._blobs.remove(session_id, blob)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError, VagusError) as error:
            _log.info("a former snapshot of session %s is left: %s", session_id, error)
