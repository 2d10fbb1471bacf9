"""Streams kept in memory, for a checker to read; logs taken apart, changed and put together again."""

import json
from base64 import urlsafe_b64encode
from collections.abc import AsyncGenerator, Callable, Iterable, Iterator
from contextlib import aclosing
from copy import deepcopy
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from uuid import uuid4

import msgspec

from chaos.checker.check import Options, check
from chaos.checker.log import Message, Source
from chaos.checker.names import DEAD, QUEUES, TICKETS, TOOLBOX, Names
from chaos.checker.report import Report, Rule
from vagus.contract.approvals import ApprovalTicket
from vagus.contract.codec import chain_digest
from vagus.contract.grants import call_hash
from vagus.contract.tools import ToolCall

Json = dict[str, Any]
"""An event, or another JSON object."""


@dataclass
class Recording:
    """What a Vagus has left: the streams, what clients and tools wrote down. A `Source`."""

    root: str
    kept: dict[str, list[Message]] = field(default_factory=dict)
    accepted: list[Json] = field(default_factory=list)
    ledger: list[Json] = field(default_factory=list)
    limited: set[str] = field(default_factory=set)
    """Streams that have dropped their oldest messages."""

    async def streams(self) -> list[str]:
        return list(self.kept)

    async def size(self, stream: str) -> int:
        return len(self.kept[stream])

    async def trimmed(self, stream: str) -> bool:
        return stream in self.limited

    async def subjects(self, stream: str) -> AsyncGenerator[str, None]:
        for subject in dict.fromkeys(message.subject for message in self.kept[stream]):
            yield subject

    async def messages(
        self, stream: str, *, after: int = 0, subject: str | None = None, latest: bool = False
    ) -> AsyncGenerator[Message, None]:
        wanted = "" if subject is None else subject.rstrip("*>")
        for message in self.kept[stream]:
            if message.subject.startswith(wanted) and (not after or message.sequence > after):
                yield message

    @property
    def names(self) -> Names:
        return Names(self.root)

    def copy(self) -> "Recording":
        kept = {stream: list(messages) for stream, messages in self.kept.items()}
        return Recording(self.root, kept, deepcopy(self.accepted), deepcopy(self.ledger), set(self.limited))

    def log(self, session: str) -> list[Message]:
        return self.kept[self.names.log(session)]

    def edit(self, session: str) -> "Tape":
        """The session's log taken apart; `Tape.play` puts it back."""
        return Tape(self, session)

    def line(self, command_id: str) -> Json:
        """What a client wrote down of a tick."""
        return next(line for line in self.accepted if line["command_id"] == command_id)

    def forget_replies(self) -> None:
        """For logs on which sequences are moved."""
        for line in self.accepted:
            line.pop("reply", None)

    async def checked(self, folder: Path, **options: Any) -> Report:
        """What the checker finds."""
        accepted, ledger = folder / "accepted.ndjson", folder / "ledger.ndjson"
        accepted.write_text("".join(json.dumps(line) + "\n" for line in self.accepted))
        ledger.write_text("".join(json.dumps(line) + "\n" for line in self.ledger))
        given: Json = {"root": self.root, "accepted": accepted, "ledger": ledger, "drain_s": 0.0}
        return await check(self, Options(**(given | options)))


async def record(source: Source, root: str) -> Recording:
    """Keep all streams that a checker reads; the queues must be empty."""
    names = Names(root)
    recording = Recording(root)
    queues = [names.stream(name) for name in QUEUES]
    buckets = [names.bucket(TICKETS), names.bucket(TOOLBOX)]
    logs = [stream for stream in await source.streams() if names.session_of(stream) is not None]
    for stream in queues:
        assert await source.size(stream) == 0
        recording.kept[stream] = []
    for stream in (names.stream(DEAD), *buckets, *logs):
        async with aclosing(source.messages(stream, latest=stream in buckets)) as messages:
            recording.kept[stream] = [message async for message in messages]
    return recording


def recorded(payloads: Iterable[bytes], tickets: Iterable[ApprovalTicket] = ()) -> Recording:
    """What a Vagus of which only one log was kept would have left, its queues empty.

    Whoever played the gate has signed nothing that can be read: the grants are put in.
    """
    names = Names()
    recording = Recording(names.root, {names.stream(name): [] for name in (*QUEUES, DEAD)})
    commits = [[json.loads(line) for line in payload.splitlines()] for payload in payloads]
    session = commits[0][0]["session_id"]
    recording.kept[names.log(session)] = []
    recording.kept[names.bucket(TOOLBOX)] = []
    recording.kept[names.bucket(TICKETS)] = [
        Message(
            0, f"$KV.{names.stream(TICKETS)}.{session}.{ticket.approval_id}", {}, msgspec.json.encode(ticket)
        )
        for ticket in tickets
    ]
    tape = recording.edit(session)
    tape.commits = commits
    tape.grant()
    tape.play(renumber=False)
    return recording


class Tape:
    """A log as lists of events, one a commit; each event is plain JSON in its order."""

    def __init__(self, recording: Recording, session: str) -> None:
        self._recording = recording
        self._session = session
        self.commits: list[list[Json]] = [
            [json.loads(line) for line in message.data.splitlines()] for message in recording.log(session)
        ]
        self._was = {id(event): (event["branch_id"], event["sequence"]) for event in self.events()}

    def events(self) -> Iterator[Json]:
        for commit in self.commits:
            yield from commit

    def find(self, kind: str, nth: int = 0, *, tick: str | None = None, **fields: Any) -> Json:
        """The n-th event of a type, or of an `event_type`, of a tick, with these fields."""
        wanted = fields | ({"correlation_id": tick} if tick is not None else {})
        return [event for event in self.events() if _fits(event, kind, wanted)][nth]

    def commit_of(self, event: Json) -> list[Json]:
        return next(commit for commit in self.commits if any(event is one for one in commit))

    def drop(self, event: Json) -> None:
        commit = self.commit_of(event)
        commit[:] = [one for one in commit if one is not event]
        self.commits = [one for one in self.commits if one]

    def after(self, event: Json, *others: Json) -> None:
        """Put events right after one, into its commit."""
        commit = self.commit_of(event)
        place = next(place for place, one in enumerate(commit) if one is event) + 1
        commit[place:place] = others

    def grant(self) -> None:
        """Let every grant be for the call that it stands for, as a gate's is."""
        calls = {event["event_id"]: event for event in self.events() if _fits(event, "ToolCallRequested", {})}
        for event in self.events():
            if _fits(event, "vagus.call_granted", {}):
                data = event["kind"]["data"]
                call = calls[data["tool_run_id"]]
                kind = call["kind"]
                made = {
                    "session_id": call["session_id"],
                    "branch_id": call["branch_id"],
                    "tool_run_id": data["tool_run_id"],
                    "call_hash": call_hash(ToolCall(tool_name=kind["tool_name"], input=kind["arguments"])),
                }
                data["grant"] = (
                    f"{urlsafe_b64encode(json.dumps(made).encode()).decode().rstrip('=')}.signature"
                )

    def play(self, *, renumber: bool = True, forks: dict[str, str] | None = None) -> list[Message]:
        """Put the log together again: numbered, chained, with its headers; replies are forgotten.

        `forks` are digests that branches are chained to, if not to that of the event they fork at.
        """
        self.commits = [commit for commit in self.commits if commit]
        if renumber:
            self._renumber()
        chain = _Chain(forks or {})
        log = self._recording.log(self._session)
        log[:] = [self._sealed(place, commit, chain) for place, commit in enumerate(self.commits, 1)]
        self._recording.forget_replies()
        return log

    def _renumber(self) -> None:
        heads: dict[str, int] = {}
        moved: dict[tuple[str, int], int] = {}
        for commit in self.commits:
            branch = commit[0]["branch_id"]
            for event in commit:
                event["sequence"] = heads[branch] = heads.get(branch, 0) + 1
                if id(event) in self._was:
                    moved[self._was[id(event)]] = heads[branch]
        for event in self.events():
            kind, branch = event["kind"], event["branch_id"]
            _move(kind, "event_sequence", branch, moved)
            _move(kind, "fork_point_seq", kind.get("from_branch", "main"), moved)
            _move(kind, "merge_seq", kind.get("source_branch_id", ""), moved)

    def _sealed(self, place: int, commit: list[Json], chain: "_Chain") -> Message:
        first, last = commit[0], commit[-1]
        lines = [chain.sealed(event, first["branch_id"]) for event in commit]
        headers = {
            "Nats-Msg-Id": last["event_id"],
            "Vagus-First": str(first["sequence"]),
            "Vagus-Last": str(last["sequence"]),
            "Vagus-Kinds": ",".join(event["kind"]["type"] for event in commit),
        }
        subject = self._recording.names.commit(self._session, first["branch_id"])
        return Message(place, subject, headers, b"".join(lines))


class _Chain:
    """Digests of what has been sealed."""

    def __init__(self, forks: dict[str, str]) -> None:
        self._forks = forks
        self._last: dict[str, str] = {}
        self._all: dict[tuple[str, int], str] = {}

    def sealed(self, event: Json, branch: str) -> bytes:
        kind = event["kind"]
        bare = {name: value for name, value in event.items() if name not in ("digest", "kind")}
        previous = self._last.get(branch)
        if previous is None:
            parent = (kind.get("from_branch", "main"), kind.get("fork_point_seq", 0))
            previous = self._forks.get(branch, self._all.get(parent, ""))
        digest = chain_digest(previous, msgspec.json.encode(bare | {"kind": kind}))
        self._last[branch] = self._all[branch, event["sequence"]] = digest
        return msgspec.json.encode(bare | {"digest": digest, "kind": kind}) + b"\n"


def again(event: Json, **kind: Any) -> Json:
    """The same event once more, under an id of its own, its kind's fields changed."""
    return deepcopy(event) | {"event_id": str(uuid4()), "kind": deepcopy(event["kind"]) | kind}


@dataclass
class Plant:
    """One thing that is wrong, and how the checker is to say so."""

    rule: Rule
    text: str
    """A part of the sentence."""
    put: Callable[[Recording], None]

    def __str__(self) -> str:
        return self.put.__name__


class Plants(list[Plant]):
    """Collects functions that make a recording wrong in one way."""

    def __call__(self, rule: Rule, text: str) -> Callable[[Callable[[Recording], None]], Plant]:
        def collect(put: Callable[[Recording], None]) -> Plant:
            self.append(Plant(rule, text, put))
            return self[-1]

        return collect


async def assert_found(plant: Plant, recording: Recording, folder: Path) -> None:
    """The checker finds exactly what was planted."""
    plant.put(recording)
    report = await recording.checked(folder)
    shown = [str(violation) for violation in report.violations]
    assert [violation.rule for violation in report.violations] == [plant.rule], shown
    assert plant.text in shown[0]
    assert not report.ok


def _fits(event: Json, kind: str, fields: Json) -> bool:
    told = event["kind"]
    return kind in (told["type"], told.get("event_type")) and all(
        event.get(name, told.get(name)) == value for name, value in fields.items()
    )


def _move(kind: Json, name: str, branch: str, moved: dict[tuple[str, int], int]) -> None:
    if (branch, kind.get(name, 0)) in moved:
        kind[name] = moved[branch, kind[name]]
