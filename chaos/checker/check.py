"""The whole check: queues, then every session, then what no session accounts for."""

import time
from collections.abc import AsyncGenerator
from contextlib import aclosing
from pathlib import Path
from typing import Final, TypeVar

import msgspec

from chaos.checker import accepted, archive, ledger, queues
from chaos.checker.log import CannotCheck, Source
from chaos.checker.names import DEAD, QUEUES, TICKETS, TOOLBOX, Names
from chaos.checker.report import Findings, Notes, Report
from chaos.checker.session import Seen, Session

_T = TypeVar("_T")

LEDGER_TAG: Final = "ledger"
"""Of tools that keep the ledger."""


class Options(msgspec.Struct, frozen=True, kw_only=True):
    """What is to be checked, and how strictly."""

    root: str = "vagus"
    accepted: Path | None = None
    ledger: Path | None = None
    drain_s: float = 60.0
    """How long the queues may take to run empty."""
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
    logs = {name for stream in streams if (name := names.session_of(stream)) is not None} | places.keys()
    seen = Seen()
    for name in sorted(logs | book.keys() | tickets.keys()):
        notes = Notes(findings, name)
        session = Session(notes, names, seen, book.pop(name, {}))
        if name in logs:
            place = places.get(name, archive.Place())
            log = archive.commits(source, names, name, place, streams, notes)
            async with aclosing(log) as commits:
                async for commit in commits:
                    session.take(commit)
        session.end(tickets.pop(name, {}), tools, unfinished=options.unfinished)
    if tools is not None:
        tools.rest(findings)
    return findings.report(options.root, time.monotonic() - began)


async def _must_exist(source: Source, names: Names) -> None:
    streams = await source.streams()
    missing = [stream for stream in map(names.stream, (*QUEUES, DEAD)) if stream not in streams]
    if missing:
        raise CannotCheck(f"no Vagus of the root {names.root} is here: there is no {missing[0]}")


async def _tickets(source: Source, names: Names) -> dict[str, dict[str, str]]:
    """The states of tickets, as approvers keep them, by session and ticket id."""
    found: dict[str, dict[str, str]] = {}
    async for key, value in _entries(source, names, TICKETS):
        session, _, ticket = key.partition(".")
        found.setdefault(session, {})[ticket] = _decoded(key, value, _Ticket).state
    return found


async def _tools(source: Source, names: Names) -> set[str]:
    """The tools that say of themselves that they keep the ledger."""
    entries = [_decoded(key, value, _Entry) async for key, value in _entries(source, names, TOOLBOX)]
    return {entry.definition.name for entry in entries if LEDGER_TAG in entry.definition.tags}


async def _entries(source: Source, names: Names, bucket: str) -> AsyncGenerator[tuple[str, bytes], None]:
    async with aclosing(source.messages(names.bucket(bucket), latest=True)) as entries:
        async for entry in entries:
            if "KV-Operation" not in entry.headers:  # else it was deleted
                yield names.key(bucket, entry.subject), entry.data


def _decoded(key: str, value: bytes, shape: type[_T]) -> _T:
    try:
        return msgspec.json.decode(value, type=shape)
    except msgspec.MsgspecError as error:
        raise CannotCheck(f"cannot read {key}: {error}") from error
