"""The parts of archived logs, as the server keeps them."""

from base64 import b64decode
from typing import Final

import blake3
import msgspec

from vagus.contract.archives import PART_BYTES, ArchivedPart, KeptCommit, pack
from vagus.contract.errors import Conflict, OutcomeUnknown, Unavailable
from vagus.contract.subjects import Subjects
from vagus.runtime.bucket import DIRECT_S
from vagus.runtime.bus import ApiError, Bus

_NO_MESSAGE: Final = 10037
_NO_STREAM: Final = 10059


class _Held(msgspec.Struct):
    data: str = ""


class Parts:
    """Of all sessions. All methods may also raise `Unavailable`, and what writes `OutcomeUnknown`."""

    def __init__(self, bus: Bus, subjects: Subjects) -> None:
        self._bus = bus
        self._subjects = subjects
        self._stream = subjects.named("ARCHIVE")

    async def get(self, session_id: str, copy: str, number: int) -> bytes | None:
        """One part as stored; None if it is not there.

        By its subject, so that a permission can bind who reads to a session.
        """
        subject = self._subjects.archive(session_id, copy, number)
        try:
            answer = await self._bus.request(
                f"$JS.API.DIRECT.GET.{self._stream}.{subject}", timeout_s=DIRECT_S
            )
        except OutcomeUnknown:
            return await self._of_leader(subject)
        if answer.status == 404:  # or a replica does not have it yet
            return await self._of_leader(subject)
        if answer.status:
            raise Unavailable(f"cannot read {subject}: {answer.description} ({answer.status})")
        return answer.data

    async def put(self, part: ArchivedPart) -> bytes:
        """Store a part; returns it as stored. Repeating it is safe: nobody else writes parts of this name."""
        data = pack(part)
        subject = self._subjects.archive(part.session_id, part.copy, part.number)
        try:
            await self._bus.store(subject, data, headers={"Nats-Expected-Last-Subject-Sequence": "0"})
        except (Conflict, OutcomeUnknown):
            if await self._of_leader(subject) != data:
                raise
        return data

    async def remove(self, session_id: str, copy: str) -> None:
        """Remove all parts of a copy. Idempotent."""
        await self._bus.api(
            f"STREAM.PURGE.{self._stream}", {"filter": self._subjects.archive(session_id, copy)}
        )

    async def _of_leader(self, subject: str) -> bytes | None:
        try:
            answer = await self._bus.api(f"STREAM.MSG.GET.{self._stream}", {"last_by_subj": subject})
        except ApiError as error:
            if error.err_code in (_NO_MESSAGE, _NO_STREAM):
                return None
            raise
        except OutcomeUnknown as error:  # a read changes nothing
            raise Unavailable(f"cannot read {subject}: {error.message}") from error
        return b64decode(msgspec.convert(answer["message"], _Held).data)


class PartsWriter:
    """Takes the commits of a log in order and stores them as parts."""

    def __init__(self, parts: Parts, session_id: str, copy: str) -> None:
        self._parts = parts
        self._session_id = session_id
        self._copy = copy
        self._heads: dict[str, int] = {}
        self._commits: list[KeptCommit] = []
        self._bytes = 0
        self._stored = blake3.blake3()
        self.starts: list[int] = []
        """The stream sequence of the first commit of each part."""

    @property
    def digest(self) -> str:
        """Of all parts."""
        return f"blake3:{self._stored.hexdigest()}"

    async def take(self, commit: KeptCommit, last: int) -> None:
        """The next commit; `last` is the sequence of its last event."""
        if self._commits and self._bytes + len(commit.payload) > PART_BYTES:
            await self.end()
        self._commits.append(commit)
        self._bytes += len(commit.payload)
        self._heads[commit.branch_id] = last

    async def end(self) -> None:
        """There are no more, for this part at least."""
        if not self._commits:
            return
        part = ArchivedPart(
            session_id=self._session_id,
            copy=self._copy,
            number=len(self.starts),
            heads=dict(self._heads),
            commits=tuple(self._commits),
        )
        self._stored.update(await self._parts.put(part))
        self.starts.append(self._commits[0].stream_sequence)
        self._commits, self._bytes = [], 0
