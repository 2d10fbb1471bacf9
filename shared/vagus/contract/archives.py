"""Archived logs: where a session's log is, and the form in which it is kept.

A log that was never archived has no `Placement`: it is the session's first stream. One that was archived is
kept as parts, each the commits of a stretch of it, compressed. One that was restored is a stream of its own,
with a number of its own in its name: what was meant for a former stream never reaches a later one.
"""

import zlib
from bisect import bisect_right
from typing import Final

import msgspec

from vagus.contract.errors import Malformed
from vagus.contract.messages import decode

PART_BYTES: Final = 256 * 1024
"""A part ends before the commit that would make its payloads longer; one commit always fits."""
INFLATED_BYTES: Final = 16 * 1024 * 1024
"""No part is longer when it is unpacked: a commit is at most a message."""


class Placement(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Where the log of a session is; changed by compare-and-set only."""

    generation: int
    """Number of its stream, or, of an archived log, of the one that it was copied from."""
    claimed: int
    """The highest number that a stream was ever made or is being made with: none is used twice."""
    archived: bool = False
    copy: str | None = None
    """The parts' name: of an archived log, those that are the log; else of a copy that is being made, or was
    the log once, and is to be removed."""
    starts: tuple[int, ...] = ()
    """Of an archived log: the stream sequence of the first commit of each part."""
    stream_sequence: int = 0
    """Of an archived log: that of its last commit."""
    digest: str = ""
    """Of an archived log: BLAKE3 of all its parts as stored, one after the other."""
    changed_at: str = ""

    def part_of(self, stream_sequence: int) -> int:
        """The part that holds a commit, counted from 0."""
        return max(0, bisect_right(self.starts, stream_sequence) - 1)


class KeptCommit(msgspec.Struct, frozen=True, kw_only=True):
    """One message of a log, as it was stored."""

    stream_sequence: int
    branch_id: str
    stored_at: str
    headers: dict[str, str]
    payload: str


class ArchivedPart(msgspec.Struct, frozen=True, kw_only=True):
    """A stretch of a log."""

    session_id: str
    copy: str
    number: int
    """Counts from 0."""
    heads: dict[str, int]
    """The sequence of the last event of each branch, as of the part's end."""
    commits: tuple[KeptCommit, ...]


def pack(part: ArchivedPart) -> bytes:
    """The part as it is stored: JSON, compressed by zlib."""
    return zlib.compress(msgspec.json.encode(part))


def unpack(data: bytes) -> ArchivedPart:
    """Read a part; raises `Malformed`."""
    inflater = zlib.decompressobj()
    try:
        text = inflater.decompress(data, INFLATED_BYTES)
    except zlib.error as error:
        raise Malformed(f"not a part of an archived log: {error}") from error
    if not inflater.eof:
        raise Malformed("not a part of an archived log: it is cut, or too long")
    return decode(text, ArchivedPart)
