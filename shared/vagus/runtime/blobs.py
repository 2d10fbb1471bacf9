"""Blobs: values too long for a message, stored once by their content before anything names them.

The layout is that of NATS's object stores (ADR-20), so that other clients can read them: chunks under a
subject of their own, and a meta message under the object's name, `<session>/<blake3 hex>`.
"""

import hashlib
import re
import secrets
from base64 import urlsafe_b64decode, urlsafe_b64encode
from typing import Final

import blake3
import msgspec

from vagus.contract import limits
from vagus.contract.blobs import BlobRef
from vagus.contract.errors import Conflict, Malformed, NotFound, OutcomeUnknown, Unavailable
from vagus.runtime import clock
from vagus.runtime.bucket import DIRECT_S
from vagus.runtime.bus import ApiError, Bus, Message
from vagus.runtime.listing import subjects_held

CHUNK_BYTES: Final = 512 * limits.KIB
_PAGE_CHUNKS: Final = 16
_NO_MESSAGE: Final = 10037
_REFERENCE: Final = re.compile(r"blake3:([0-9a-f]{64})")


class _Options(msgspec.Struct):
    max_chunk_size: int


class _Meta(msgspec.Struct, omit_defaults=True):
    name: str
    bucket: str
    nuid: str
    size: int
    chunks: int
    digest: str
    mtime: str = ""
    options: _Options | None = None
    headers: dict[str, list[str]] = {}
    deleted: bool = False


class _Held(msgspec.Struct):
    seq: int
    data: bytes = b""


class Blobs:
    """The blobs of one object store. All methods may also raise `Unavailable` and `OutcomeUnknown`."""

    def __init__(self, bus: Bus, bucket: str) -> None:
        self._bus = bus
        self._bucket = bucket
        self._stream = f"OBJ_{bucket}"

    async def put(self, session: str, data: bytes, media_type: str = "application/json") -> BlobRef:
        """Store `data` for a session, unless it is there; returns what names it. Idempotent."""
        digest = blake3.blake3(data).hexdigest()
        reference = BlobRef(blob=f"blake3:{digest}", size=len(data), media_type=media_type)
        name = f"{session}/{digest}"
        if await self._meta(name) is None:
            await self._store(name, data, media_type)
        return reference

    async def get(self, session: str, reference: BlobRef) -> bytes:
        """The blob's bytes.

        Raises:
            NotFound: There is no such blob.
            Malformed: The reference is none, or what is stored is not what it names.
        """
        named = _REFERENCE.fullmatch(reference.blob)
        if named is None:
            raise Malformed(f"not a blob reference: {reference.blob[:80]!r}")
        name = f"{session}/{named[1]}"
        meta = await self._meta(name) or await self._meta_of_leader(name)
        if meta is None:
            raise NotFound(f"blob not found: {reference.blob} of session {session}")
        data = await self._chunks(meta)
        if blake3.blake3(data).hexdigest() != named[1]:
            raise Malformed(f"blob {reference.blob} of session {session} is damaged: {len(data)} bytes")
        return data

    async def remove(self, session: str, reference: BlobRef) -> None:
        """Remove a blob that nothing names any more. Idempotent."""
        meta_subject = self._meta_subject(f"{session}/{reference.blob.removeprefix('blake3:')}")
        meta = await self._meta(f"{session}/{reference.blob.removeprefix('blake3:')}")
        for subject in (meta_subject, self._chunk_subject(meta.nuid)) if meta is not None else ():
            await self._bus.api(f"STREAM.PURGE.{self._stream}", {"filter": subject})

    async def remove_all(self, session: str) -> int:
        """Remove all blobs of a session; returns how many there were. Idempotent.

        Their names are encoded in subjects, which no filter can take apart: the names of all blobs are read.
        """
        found = 0
        for subject in await subjects_held(self._bus, self._stream, f"$O.{self._bucket}.M.*"):
            name = urlsafe_b64decode(subject.rpartition(".")[2]).decode(errors="replace")
            if name.startswith(f"{session}/"):
                held = await self._of_leader({"last_by_subj": subject})
                meta = None if held is None else msgspec.json.decode(held.data, type=_Meta)
                for left in () if meta is None else (self._chunk_subject(meta.nuid), subject):
                    await self._bus.api(f"STREAM.PURGE.{self._stream}", {"filter": left})
                found += 1
        return found

    async def _store(self, name: str, data: bytes, media_type: str) -> None:
        """Chunks first, under a subject that is ours alone; who names theirs first has stored the blob."""
        nuid = secrets.token_hex(11)
        pieces = [data[start : start + CHUNK_BYTES] for start in range(0, len(data), CHUNK_BYTES)]
        for piece in pieces:
            await self._bus.store(self._chunk_subject(nuid), piece)
        meta = _Meta(
            name=name,
            bucket=self._bucket,
            nuid=nuid,
            size=len(data),
            chunks=len(pieces),
            digest="SHA-256=" + urlsafe_b64encode(hashlib.sha256(data).digest()).decode(),
            mtime=clock.now(),
            options=_Options(max_chunk_size=CHUNK_BYTES),
            headers={"Content-Type": [media_type]},
        )
        try:
            await self._bus.store(
                self._meta_subject(name),
                msgspec.json.encode(meta),
                headers={"Nats-Rollup": "sub", "Nats-Expected-Last-Subject-Sequence": "0"},
            )
        except Conflict:  # somebody else has stored the same meanwhile
            await self._bus.api(f"STREAM.PURGE.{self._stream}", {"filter": self._chunk_subject(nuid)})

    async def _meta(self, name: str) -> _Meta | None:
        question = f"$JS.API.DIRECT.GET.{self._stream}.{self._meta_subject(name)}"
        try:
            answer = await self._bus.request(question, timeout_s=DIRECT_S)
        except OutcomeUnknown:
            return await self._meta_of_leader(name)
        if answer.status == 404:
            return None
        meta = msgspec.json.decode(answer.data, type=_Meta)
        return None if meta.deleted else meta

    async def _meta_of_leader(self, name: str) -> _Meta | None:
        """As `_meta`: a replica may not have it yet."""
        held = await self._of_leader({"last_by_subj": self._meta_subject(name)})
        meta = None if held is None else msgspec.json.decode(held.data, type=_Meta)
        return None if meta is None or meta.deleted else meta

    async def _chunks(self, meta: _Meta) -> bytes:
        subject = self._chunk_subject(meta.nuid)
        pieces: list[bytes] = []
        start = 1
        while len(pieces) < meta.chunks:
            page = [
                _Held(int(message.headers["Nats-Sequence"]), message.data)
                for message in await self._page(subject, start)
            ]
            if not page:
                held = await self._of_leader({"seq": start, "next_by_subj": subject})
                if held is None:
                    break
                page = [held]
            pieces += [held.data for held in page]
            start = page[-1].seq + 1
        return b"".join(pieces)

    async def _of_leader(self, which: dict[str, object]) -> _Held | None:
        try:
            answer = await self._bus.api(f"STREAM.MSG.GET.{self._stream}", which)
        except ApiError as error:
            if error.err_code == _NO_MESSAGE:
                return None
            raise
        return msgspec.convert(answer["message"], _Held)

    async def _page(self, subject: str, start: int) -> list[Message]:
        *page, end = await self._bus.collect(
            f"$JS.API.DIRECT.GET.{self._stream}",
            msgspec.json.encode({"seq": start, "next_by_subj": subject, "batch": _PAGE_CHUNKS}),
            last=lambda reply: reply.status != 0,
            timeout_s=limits.REQUEST_TIMEOUT_S,
        )
        if end.status not in (204, 404):
            raise Unavailable(f"cannot read {self._bucket}: {end.description} ({end.status})")
        return page

    def _chunk_subject(self, nuid: str) -> str:
        return f"$O.{self._bucket}.C.{nuid}"

    def _meta_subject(self, name: str) -> str:
        return f"$O.{self._bucket}.M.{urlsafe_b64encode(name.encode()).decode()}"
