"""The whole check: queues, then every session, then what no session accounts for."""

import time
from collections.abc import Collection
from contextlib import AsyncExitStack, aclosing
from pathlib import Path
from typing import Final

import msgspec

from chaos.checker import accepted, archive, erasures, ledger, queues
from chaos.checker.buckets import entries
from chaos.checker.firehose import Firehose, firehose
from chaos.checker.log import CannotCheck, Source
from chaos.checker.names import DEAD, QUEUES, TICKETS, TOOLBOX, Names
from chaos.checker.report import Findings, Notes, Report
from chaos.checker.session import Seen, Session

LEDGER_TAG: Final = "ledger"
"""Of tools that keep the ledger."""


class Options(msgspec.Struct, frozen=True, kw_only=True):
    """What is to be checked, and how strictly."""

    root: str = "vagus"
    accepted: Path | None = None
    ledger: Path | None = None
    drain_s: float = 60.0
    """How long the queues may take to run empty, and then the relays to come to the ends of the logs."""
    expected_dead: tuple[str, ...] = ()
    """Expressions: dead letters with such reasons are none of our business."""
    unfinished: bool = False
    """The system is at work: what has not ended yet is no violation, and nothing is waited for."""


class _Ticket(msgspec.Struct, frozen=True):
    state: str


class _Definition(msgspec.Struct, frozen=True):
    name: str
    tags: tuple[str, ...] = ()


class _Entry(msgspec.Struct, frozen=True):
    definition: _Definition


async def check(source: Source, options: Options) -> Report:
    """Check everything; raises `CannotCheck`."""
    began = time.monotonic()
    names, findings = Names(options.root), Findings()
    await _must_exist(source, names)
    book = accepted.read(options.accepted) if options.accepted is not None else {}
    findings.counts.accepted = sum(map(len, book.values()))
    if not options.unfinished:
        await queues.drained(source, names, findings, options.drain_s)
    await queues.dead(source, names, findings, options.expected_dead)
    tickets = await _tickets(source, names)
    tools = ledger.read(options.ledger, await _tools(source, names)) if options.ledger is not None else None
    findings.counts.ledger_runs = len(tools) if tools is not None else 0
    streams = await source.streams()
    places = await archive.places(source, names, streams)
    erased = await erasures.tombstones(source, names, streams)
    hose = None if options.unfinished else await firehose(source, names, streams, options.drain_s)
    logs = {name for stream in streams if (name := names.session_of(stream)) is not None} | places.keys()
    seen = Seen()
    for name in sorted(logs | book.keys() | tickets.keys() | erased.keys()):
        notes, ticks, asked = Notes(findings, name), book.pop(name, {}), tickets.pop(name, {})
        if name in erased:
            erasures.compare(notes, erased[name], ticks, unfinished=options.unfinished)
            continue
        session = Session(notes, names, seen, ticks)
        if name in logs:
            await _read(source, names, session, notes, places.get(name, archive.Place()), streams, hose)
        session.end(asked, tools, unfinished=options.unfinished)
    if tools is not None:
        tools.rest(findings, erased)
    if not options.unfinished:
        await erasures.leftovers(source, names, findings, streams, erased)
    if hose is not None:
        await hose.strangers(findings, logs | erased.keys())
        await erasures.told(names, findings, hose, erased)
    return findings.report(options.root, time.monotonic() - began)


async def _read(
    source: Source,
    names: Names,
    session: Session,
    notes: Notes,
    place: archive.Place,
    streams: Collection[str],
    hose: Firehose | None,
) -> None:
    """The session's log, and beside it what the firehose has of it."""
    async with AsyncExitStack() as stack:
        log = archive.commits(source, names, notes.session, place, streams, notes)
        commits = await stack.enter_async_context(aclosing(log))
        copy = None if hose is None else await stack.enter_async_context(hose.beside(notes))
        async for commit in commits:
            events = session.take(commit)
            if copy is not None:
                await copy.take(commit.sequence, events)
        if copy is not None:
            await copy.end()


async def _must_exist(source: Source, names: Names) -> None:
    streams = await source.streams()
    missing = [stream for stream in map(names.stream, (*QUEUES, DEAD)) if stream not in streams]
    if missing:
        raise CannotCheck(f"no Vagus of the root {names.root} is here: there is no {missing[0]}")


async def _tickets(source: Source, names: Names) -> dict[str, dict[str, str]]:
    """The states of tickets, as approvers keep them, by session and ticket id."""
    found: dict[str, dict[str, str]] = {}
    async with aclosing(entries(source, names, TICKETS, _Ticket)) as kept:
        async for key, ticket in kept:
            session, _, name = key.partition(".")
            found.setdefault(session, {})[name] = ticket.state
    return found


async def _tools(source: Source, names: Names) -> set[str]:
    """The tools that say of themselves that they keep the ledger."""
    async with aclosing(entries(source, names, TOOLBOX, _Entry)) as kept:
        definitions = [entry.definition async for _, entry in kept]
    return {definition.name for definition in definitions if LEDGER_TAG in definition.tags}
