"""What `record.py` kept of a release, and the same as a release to come might write it."""

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeAlias

import msgspec

from vagus.contract.codec import chain_digest
from vagus.contract.ids import MAIN
from vagus.runtime.eventlog import Commit

FOLDER = Path(__file__).parent
SESSIONS = ("golden", "waiting", "closed")
UNKNOWN = {"type": "FromTomorrow", "deep": {"z": [1, {"a": None}], "a": "ü"}}
Json: TypeAlias = dict[str, Any]


class Said(msgspec.Struct, frozen=True):
    """A message as it was recorded."""

    subject: str
    headers: dict[str, str]
    data: str

    @property
    def payload(self) -> bytes:
        return self.data.encode()


@dataclass
class Release:
    """A recorded release."""

    name: str
    logs: dict[str, list[Said]]
    messages: list[Said]
    states: dict[str, Any]

    def commits(self, session_id: str) -> list[Commit]:
        return [
            Commit(
                session_id=session_id,
                branch_id=said.subject.rpartition(".")[2],
                stream_sequence=place,
                first=int(said.headers["Vagus-First"]),
                last=int(said.headers["Vagus-Last"]),
                payload=said.payload,
                stored_at="",
            )
            for place, said in enumerate(self.logs[session_id], 1)
        ]


def names() -> list[str]:
    """All recorded releases."""
    return sorted(folder.name for folder in FOLDER.iterdir() if (folder / "states.json").exists())


def release(name: str) -> Release:
    folder = FOLDER / name
    logs = {session_id: _read(folder / f"log-{session_id}.ndjson") for session_id in SESSIONS}
    states = json.loads((folder / "states.json").read_text())
    return Release(name, logs, _read(folder / "messages.ndjson"), states)


def _read(file: Path) -> list[Said]:
    return [msgspec.json.decode(line, type=Said) for line in file.read_bytes().splitlines()]


# What is to come -------------------------------------------------------------------------------------------


def tomorrow(name: str) -> Release:
    """The release as a later one might have written it: more fields everywhere, one kind of event more."""
    today = release(name)
    logs = {session_id: _Tomorrow().log(log) for session_id, log in today.logs.items()}
    messages = [
        msgspec.structs.replace(said, data=json.dumps(grown(json.loads(said.data)), ensure_ascii=False))
        for said in today.messages
        if "_SNAPSHOTS." not in said.subject  # of kernels' own, and of no log that ends otherwise
    ]
    return Release(f"after {name}", logs, messages, {})


def grown(value: Any) -> Any:
    """With one more field in the object, and in those that it holds."""
    if not isinstance(value, dict):
        return value
    return {name: grown(one) if name in _OURS else one for name, one in value.items()} | {"tomorrow": [1]}


_OURS = frozenset(
    {"tick", "create_session", "manifest", "ok", "state", "report", "call", "definition", "error"}
)
"""Members whose objects have types; others are free-form."""


@dataclass
class _Tomorrow:
    """Grows a log, and chains it anew."""

    digests: dict[str, list[str]] = field(default_factory=dict)

    def log(self, log: list[Said]) -> list[Said]:
        return [self._commit(said, unknown=place == len(log)) for place, said in enumerate(log, 1)]

    def _commit(self, said: Said, *, unknown: bool) -> Said:
        events = [json.loads(line) for line in said.data.splitlines()]
        branch = events[0]["branch_id"]
        if unknown:
            last = events[-1]
            events.append(
                last
                | {
                    "event_id": f"t-{last['event_id']}",
                    "sequence": last["sequence"] + 1,
                    "kind": dict(UNKNOWN),
                }
            )
        lines = [self._line(event, self.digests.setdefault(branch, [])) for event in events]
        headers = said.headers | {
            "Nats-Msg-Id": events[-1]["event_id"],
            "Vagus-Last": str(events[-1]["sequence"]),
            "Vagus-Kinds": ",".join(event["kind"]["type"] for event in events),
            "Vagus-Tomorrow": "1",
        }
        return Said(said.subject, headers, "".join(line + "\n" for line in lines))

    def _line(self, event: Json, chain: list[str]) -> str:
        kind = event["kind"]
        bare = {name: value for name, value in event.items() if name not in ("digest", "kind")}
        bare["tomorrow"] = {"by": "a later release"}
        if kind["type"] != UNKNOWN["type"]:
            kind = kind | {"tomorrow": 1}
        previous = chain[-1] if chain else self._fork(kind)
        digest = chain_digest(previous, msgspec.json.encode(bare | {"kind": kind}))
        chain.append(digest)
        return msgspec.json.encode(bare | {"digest": digest, "kind": kind}).decode()

    def _fork(self, kind: Json) -> str:
        point = kind.get("fork_point_seq", 0)
        return self.digests[kind.get("from_branch") or MAIN][point - 1] if point else ""
