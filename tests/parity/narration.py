"""Makes an account of our own records: extension events are dropped, sequences count what is left."""

from bisect import bisect_right
from collections.abc import Mapping
from typing import Any

import msgspec

from tests.parity.account import Account, Told
from vagus.contract.codec import encode_kind
from vagus.contract.events import EventRecord, is_extension
from vagus.contract.hashing import manifest_hash
from vagus.contract.sessions import SessionManifest

ADDITIVE = {
    "ToolCallStarted": ("call_id",),
    "ToolCallRequested": ("category",),
    "ApprovalRequested": ("capability", "reason"),
    "BranchCreated": ("from_branch",),
}
"""Optional fields of ours that the original's logs lack."""


class Numbering:
    """Sequences of our logs, and of the same logs without extension events."""

    def __init__(self) -> None:
        self._kept: dict[tuple[str, str], list[int]] = {}

    def keep(self, record: EventRecord) -> None:
        self._kept.setdefault((record.session_id, record.branch_id), []).append(record.sequence)

    def told(self, session: str, branch: str, sequence: int) -> int:
        """How many events up to ours at `sequence` a reader is told."""
        return bisect_right(self._kept.get((session, branch), []), sequence)

    def ours(self, session: str, branch: str, told: int) -> int:
        """Our sequence of the event that is the told'th for a reader; beyond the last, as far beyond ours."""
        kept = self._kept.get((session, branch), [])
        if 0 < told <= len(kept):
            return kept[told - 1]
        return told if not kept or told <= 0 else kept[-1] + told - len(kept)


class Narrator:
    """Adds records to an account as they come."""

    def __init__(self, account: Account) -> None:
        self.account = account
        self.numbering = Numbering()
        self.records: list[EventRecord] = []
        """All, extension events too."""
        self._parents: dict[tuple[str, str], str] = {}

    def tell(self, step: int, record: EventRecord, manifest: SessionManifest | None) -> None:
        """Take in one record."""
        self.records.append(record)
        if is_extension(record.kind):
            return
        self.numbering.keep(record)
        kind: dict[str, Any] = msgspec.json.decode(encode_kind(record.kind))
        self._renumber(record, kind)
        for field in ADDITIVE.get(kind["type"], ()):
            kind.pop(field, None)
        if kind["type"] == "SessionCreated" and manifest is not None:
            kind = _named(kind, manifest_hash(manifest))
        self.account.append(record.session_id, record.branch_id, Told(step, kind))

    def _renumber(self, record: EventRecord, kind: dict[str, Any]) -> None:
        session, branch = record.session_id, record.branch_id
        match kind:
            case {"type": "CheckpointCreated", "event_sequence": sequence}:
                kind["event_sequence"] = self.numbering.told(session, branch, sequence)
            case {"type": "BranchCreated", "fork_point_seq": sequence, "from_branch": parent}:
                kind["fork_point_seq"] = self.numbering.told(session, parent, sequence)
            case {"type": "BranchMerged", "merge_seq": sequence, "source_branch_id": source}:
                kind["merge_seq"] = self.numbering.told(session, source, sequence)

    def branch(self, session: str, info: Mapping[str, Any]) -> dict[str, Any]:
        """What is told of a branch."""
        told = self.numbering.told
        parent = info["parent_branch"]
        return {
            **info,
            "fork_sequence": told(session, parent, info["fork_sequence"]) if parent else 0,
            "head_sequence": told(session, info["branch_id"], info["head_sequence"]),
        }


def _named(kind: dict[str, Any], digest: str) -> dict[str, Any]:
    """SessionCreated with a placeholder where the manifest's hash stands."""
    name = "<manifest>" if kind["name"] == digest else kind["name"]
    config = {
        key: "<manifest>" if (key, value) == ("manifest_hash", digest) else value
        for key, value in kind["config"].items()
    }
    return {**kind, "name": name, "config": config}
