"""Key-value buckets by NATS's convention (ADR-8).

A bucket is a stream, a key a subject, and the subject's last message its value. A revision is the stream
sequence of the message that set the value.
"""

import re
from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager
from typing import Final

import msgspec

from vagus.contract import limits
from vagus.contract.errors import Conflict, Malformed, OutcomeUnknown, Unavailable
from vagus.runtime.bus import ApiError, Bus, Message
from vagus.runtime.watch import OPERATION, CaughtUp, Change, Deleted, Entry, change, watch

__all__ = ["Bucket", "CaughtUp", "Change", "Deleted", "Entry"]

DIRECT_S: Final = 2.0
"""Of a direct get: on a cluster it may have been given to a server that stands still."""
PAGE_MESSAGES: Final = 1000
PAGE_BYTES: Final = 8 * limits.MIB

_WORD: Final = r"[-/_=A-Za-z0-9]+"
_KEY: Final = re.compile(rf"{_WORD}(\.{_WORD})*")
_FILTER: Final = re.compile(rf"({_WORD}|\*)(\.({_WORD}|\*))*(\.>)?|>")
_EXPECTED: Final = "Nats-Expected-Last-Subject-Sequence"
_NO_MESSAGE: Final = 10037


class Bucket:
    """One bucket, by name. All methods may also raise `Unavailable`, and what writes `OutcomeUnknown`."""

    def __init__(self, bus: Bus, name: str) -> None:
        self._bus = bus
        self._prefix = f"$KV.{name}."
        self._stream = f"KV_{name}"
        self.name = name

    async def get(self, key: str, *, fresh: bool = False) -> Entry | None:
        """The entry of `key`.

        On a cluster any replica may answer, and be a moment behind; with `fresh` it is the leader that does.
        """
        found = await self._last(key, fresh=fresh)
        return found if isinstance(found, Entry) else None

    async def latest(self, filter: str) -> Entry | None:  # noqa: A002
        """Of the keys that match `filter`, the entry of the one that was changed last; from the leader."""
        found = await self._last_of_leader(self._subject(filter, _FILTER))
        return found if isinstance(found, Entry) else None

    async def create(self, key: str, value: bytes) -> int:
        """Set a key that has no value; returns its revision. Raises `Conflict` if it has one."""
        try:
            return await self._store(key, value, {_EXPECTED: "0"})
        except Conflict:
            found = await self._last(key, fresh=True)
            if not isinstance(found, Deleted):
                raise
        return await self.update(key, value, found.revision)

    async def update(self, key: str, value: bytes, revision: int) -> int:
        """Set a key that stands at `revision`; returns its new one. Raises `Conflict` if it does not."""
        return await self._store(key, value, {_EXPECTED: str(revision)})

    async def put(self, key: str, value: bytes) -> int:
        """Set a key whatever it was; returns its revision."""
        return await self._store(key, value, {})

    def put_nowait(self, key: str, value: bytes) -> None:
        """Set a key without the server's word that it is set: for what is soon set again."""
        self._bus.send(self._subject(key), value)

    async def delete(self, key: str, revision: int | None = None) -> None:
        """Remove a key; with `revision` only if it stands at it, else `Conflict`. Idempotent without."""
        expected = {} if revision is None else {_EXPECTED: str(revision)}
        await self._store(key, b"", {OPERATION: "DEL"} | expected)

    async def keys(self, filter: str = ">") -> list[str]:  # noqa: A002 -- the word NATS uses
        """The keys that match `filter` (`*`: one token, `>`: the rest), in the order of their last change."""
        return [entry.key for entry in await self.entries(filter)]

    async def entries(self, filter: str = ">") -> list[Entry]:  # noqa: A002
        """The entries that match `filter`, in the order of their last change; a page of 1 000 a round trip.

        Not one moment's picture: what changes meanwhile may be in it or not, but no key is in it twice.
        """
        subject = self._subject(filter, _FILTER)
        found: dict[str, Entry] = {}
        start: int | None = 1
        while start is not None:
            page, start = await self._page(subject, start)
            for told in page:
                found.pop(told.key, None)
                if isinstance(told, Entry):
                    found[told.key] = told
        return list(found.values())

    async def page(self, start: int) -> tuple[list[Entry], int | None]:
        """The first entries from a revision on, at most 1 000; and the revision to go on from, if any."""
        found, following = await self._page(self._subject(">", _FILTER), start)
        return [told for told in found if isinstance(told, Entry)], following

    async def is_led(self) -> bool:
        """Whether it takes writes now; what a replica tells of a bucket without a leader may be long past."""
        try:
            await self._bus.api(f"STREAM.INFO.{self._stream}")
        except (OutcomeUnknown, Unavailable):
            return False
        return True

    @asynccontextmanager
    async def watch(self, filter: str = ">") -> AsyncIterator[AsyncIterator[Change]]:  # noqa: A002
        """The current entries that match `filter`, then `CaughtUp` once, then every change, in order.

        It survives reconnects: a key that changed meanwhile is told with its last value. What the bucket's
        age limit removes is not told. Only the first attempt to reach the server raises.
        """
        subject = self._subject(filter, _FILTER)
        async with aclosing(watch(self._bus, self._stream, self._prefix, subject)) as changes:
            yield changes

    def _subject(self, key: str, pattern: re.Pattern[str] = _KEY) -> str:
        if not pattern.fullmatch(key):
            raise Malformed(f"not a key of {self.name}: {key[:80]!r}")
        return self._prefix + key

    async def _store(self, key: str, value: bytes, headers: dict[str, str]) -> int:
        return (await self._bus.store(self._subject(key), value, headers=headers)).sequence

    async def _last(self, key: str, *, fresh: bool) -> Entry | Deleted | None:
        subject = self._subject(key)
        if fresh:
            return await self._last_of_leader(subject)
        try:
            answer = await self._bus.request(
                f"$JS.API.DIRECT.GET.{self._stream}.{subject}", timeout_s=DIRECT_S
            )
        except OutcomeUnknown:
            return await self._last_of_leader(subject)
        return None if answer.status == 404 else self._direct(answer)

    async def _last_of_leader(self, subject: str) -> Entry | Deleted | None:
        try:
            answer = await self._bus.api(f"STREAM.MSG.GET.{self._stream}", {"last_by_subj": subject})
        except ApiError as error:
            if error.err_code == _NO_MESSAGE:
                return None
            raise
        found = msgspec.convert(answer["message"], _Held)
        return change(self._prefix, found.subject, OPERATION.encode() in found.hdrs, found.data, found.seq)

    async def _page(self, subject: str, start: int) -> tuple[list[Entry | Deleted], int | None]:
        """What is there from stream sequence `start` on, and where to go on if there is more."""
        wanted = {"seq": start, "next_by_subj": subject, "batch": PAGE_MESSAGES, "max_bytes": PAGE_BYTES}
        *found, end = await self._bus.collect(
            f"$JS.API.DIRECT.GET.{self._stream}",
            msgspec.json.encode(wanted),
            last=lambda reply: reply.status != 0,
            timeout_s=limits.REQUEST_TIMEOUT_S,
        )
        if end.status not in (204, 404):
            raise Unavailable(f"cannot read {self.name}: {end.description} ({end.status})")
        page = [self._direct(message) for message in found]
        more = page and int(end.headers.get("Nats-Num-Pending", 0)) > 0
        return page, page[-1].revision + 1 if more else None

    def _direct(self, message: Message) -> Entry | Deleted:
        if message.status:
            raise Unavailable(f"cannot read {self.name}: {message.description} ({message.status})")
        headers = message.headers
        revision = int(headers["Nats-Sequence"])
        return change(self._prefix, headers["Nats-Subject"], OPERATION in headers, message.data, revision)


class _Held(msgspec.Struct):
    subject: str
    seq: int
    hdrs: bytes = b""
    data: bytes = b""
