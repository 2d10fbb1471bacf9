"""Erased sessions: nothing is left of them but what says that they were."""

from collections.abc import Collection, Mapping
from contextlib import aclosing
from typing import Final

import msgspec

from chaos.checker.accepted import Accepted
from chaos.checker.buckets import entries
from chaos.checker.event import Custom, Unreadable, read
from chaos.checker.firehose import Firehose
from chaos.checker.log import Message, Source
from chaos.checker.names import ERASED, EVENTS, MAIN, Names
from chaos.checker.report import Findings, Notes, Rule

_TOLD: Final = "vagus.session_erased"


class Tombstone(msgspec.Struct, frozen=True):
    """What stays."""

    erased_at: str | None = None
    """None: it is under way."""
    events: int = 0
    """That the session had."""


Tombstones = Mapping[str, Tombstone]
"""By session."""


async def tombstones(source: Source, names: Names, streams: Collection[str]) -> Tombstones:
    """Of all sessions that were erased, or are being."""
    if names.bucket(ERASED) not in streams:  # of an earlier release
        return {}
    async with aclosing(entries(source, names, ERASED, Tombstone)) as found:
        return {session: tombstone async for session, tombstone in found}


def compare(notes: Notes, tombstone: Tombstone, ticks: Mapping[str, Accepted], *, unfinished: bool) -> None:
    """With what clients were told: no log tells of these ticks any more."""
    counts = notes.counts
    counts.erased += 1
    told: dict[str, int] = {}
    for tick in ticks.values():
        counts.erased_ticks += any(reply.ok is not None for reply in tick.replies)
        for reply in tick.replies:
            last = (reply.ok or {}).get("last_sequence", 0)
            told[tick.branch_id] = max(told.get(tick.branch_id, 0), last)
    if unfinished:
        return
    if tombstone.erased_at is None:
        notes.say(Rule.ERASED, "its erasure has not ended")
    if tombstone.events < sum(told.values()):
        text = f"its tombstone counts {tombstone.events} events, clients were told of {sum(told.values())}"
        notes.say(Rule.ERASED, text)


async def leftovers(
    source: Source, names: Names, findings: Findings, streams: Collection[str], erased: Tombstones
) -> None:
    """Complain of every stream that is the log of an erased session, and of every subject that names one."""
    for stream in streams:
        log_of = names.session_of(stream)
        if log_of in erased:
            findings.say(Rule.ERASED, f"{stream} is left", log_of or "")
        if log_of is not None or stream == names.stream(EVENTS) or not names.owns(stream):
            continue
        async with aclosing(source.subjects(stream)) as subjects:
            async for subject in subjects:
                session = names.named_in(subject)
                if session in erased:
                    findings.say(Rule.ERASED, f"{stream} still has {subject}", session or "")


async def told(names: Names, findings: Findings, hose: Firehose, erased: Tombstones) -> None:
    """The firehose has one message of each erased session, which tells of that."""
    for session, tombstone in erased.items():
        async with aclosing(hose.messages(session)) as found:
            messages = [message async for message in found]
        missed = not hose.whole or (tombstone.erased_at or "") < hose.begun_at
        if not messages and missed:  # it has gone with its age, or was never there
            continue
        if [_tells(names, session, message) for message in messages] != [True]:
            text = f"the firehose has {len(messages)} messages of it, not one that tells of its erasure"
            findings.say(Rule.ERASED, text, session)


def _tells(names: Names, session: str, message: Message) -> bool:
    try:
        event = read(message.data)
    except Unreadable:
        return False
    said = isinstance(event.kind, Custom) and event.kind.event_type == _TOLD and not event.digest
    place = names.event(session, MAIN, "Custom")
    return said and message.subject == place and event.session_id == session
