"""Where the logs are: in streams, or in the archive, as parts of compressed JSON."""

import zlib
from collections.abc import AsyncGenerator, Collection
from contextlib import aclosing

import blake3
import msgspec

from chaos.checker.buckets import entries
from chaos.checker.log import Message, Source
from chaos.checker.names import ARCHIVE, ARCHIVED, Names
from chaos.checker.report import Notes, Rule


class Place(msgspec.Struct, frozen=True):
    """Where a log is that was ever archived."""

    generation: int = 0
    archived: bool = False
    copy: str | None = None
    stream_sequence: int = 0
    digest: str = ""


class _Commit(msgspec.Struct, frozen=True):
    stream_sequence: int
    branch_id: str
    headers: dict[str, str]
    payload: str


class _Part(msgspec.Struct, frozen=True):
    number: int
    commits: tuple[_Commit, ...]


async def places(source: Source, names: Names, streams: Collection[str]) -> dict[str, Place]:
    """By session; one that is missing is in its first stream."""
    if names.bucket(ARCHIVED) not in streams:  # of an earlier release
        return {}
    async with aclosing(entries(source, names, ARCHIVED, Place)) as found:
        return {session: place async for session, place in found}


async def commits(
    source: Source, names: Names, session: str, place: Place, streams: Collection[str], notes: Notes
) -> AsyncGenerator[Message, None]:
    """The messages of a log, wherever they are."""
    if place.archived:
        log = _unpacked(source, names, session, place, notes)
    else:
        stream = names.log(session, place.generation)
        if stream not in streams:
            notes.say(Rule.STREAM, f"the log should be {stream}, which is not there")
            return
        log = source.messages(stream)
    async with aclosing(log) as messages:
        async for message in messages:
            yield message


async def _unpacked(
    source: Source, names: Names, session: str, place: Place, notes: Notes
) -> AsyncGenerator[Message, None]:
    """The parts one after the other; that a commit is missing between them shows in the commits."""
    digest, last = blake3.blake3(), 0
    subject = names.parts(session, place.copy or "")
    async with aclosing(source.messages(names.stream(ARCHIVE), subject=subject)) as parts:
        async for stored in parts:
            digest.update(stored.data)
            try:
                part = msgspec.json.decode(zlib.decompress(stored.data), type=_Part)
            except (zlib.error, msgspec.MsgspecError) as error:
                notes.say(Rule.STREAM, f"{stored.subject} cannot be read: {error}")
                continue
            for kept in part.commits:
                last = kept.stream_sequence
                place_of = names.commit(session, kept.branch_id)
                yield Message(last, place_of, kept.headers, kept.payload.encode())
    if last != place.stream_sequence:
        notes.say(Rule.STREAM, f"the archive ends with commit {last}, not {place.stream_sequence}")
    if f"blake3:{digest.hexdigest()}" != place.digest:
        notes.say(Rule.STREAM, f"the archive is not what was archived: {place.digest}")
