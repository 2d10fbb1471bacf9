"""Checks that a session's log is whole: nothing missing, nothing twice, nothing changed since it was written.

Every line is chained to the one before it on its branch by a digest; a fork's first line is chained to its
parent's line at the fork. Sequences count from 1 on each branch without gaps.
"""

from typing import Final

import msgspec

from vagus.contract.codec import chain_digest, line_digest
from vagus.contract.events import BranchCreated, BranchMerged, EventRecord
from vagus.contract.ids import MAIN
from vagus.runtime.eventlog import Commit

MOST_PROBLEMS: Final = 20
"""Described; one broken line may break many after it."""


class BranchVerified(msgspec.Struct, frozen=True, kw_only=True):
    """One branch of a verified log."""

    branch_id: str
    events: int
    digest: str
    """Of its last event: two logs with equal last digests are equal."""


class Verification(msgspec.Struct, frozen=True, kw_only=True):
    """What checking a log gave."""

    session_id: str
    ok: bool
    commits: int
    events: int
    branches: tuple[BranchVerified, ...]
    problems: tuple[str, ...]
    """The first ones, each naming the event."""


class Verifier:
    """Takes a session's commits in stream order and keeps the digests, 32 bytes an event, for forks."""

    def __init__(self, session_id: str) -> None:
        self._session_id = session_id
        self._digests: dict[str, list[bytes]] = {}
        self._merged: set[str] = set()
        self._commits = 0
        self._agent: str | None = None
        self._problems: list[str] = []

    def take(self, commit: Commit) -> None:
        """Check one commit."""
        self._commits += 1
        records = commit.records()
        if not records or (records[0].sequence, records[-1].sequence) != (commit.first, commit.last):
            self._problem(
                f"commit {commit.stream_sequence} does not hold the sequences that its headers name"
            )
        if commit.branch_id in self._merged:
            self._problem(
                f"commit {commit.stream_sequence} is on branch {commit.branch_id}, merged before it"
            )
        for record, line in zip(records, commit.lines(), strict=True):
            self._check(record, line, commit)

    def result(self) -> Verification:
        """What was found."""
        branches = tuple(
            BranchVerified(branch_id=name, events=len(digests), digest=_text(digests[-1]))
            for name, digests in sorted(self._digests.items())
        )
        return Verification(
            session_id=self._session_id,
            ok=not self._problems,
            commits=self._commits,
            events=sum(branch.events for branch in branches),
            branches=branches,
            problems=tuple(self._problems[:MOST_PROBLEMS]),
        )

    def _check(self, record: EventRecord, line: bytes, commit: Commit) -> None:
        branch = self._digests.setdefault(commit.branch_id, [])
        name = f"event {record.sequence} of {commit.branch_id} (commit {commit.stream_sequence})"
        if (record.session_id, record.branch_id) != (self._session_id, commit.branch_id):
            self._problem(f"{name} says it belongs to {record.session_id}/{record.branch_id}")
        if record.sequence != len(branch) + 1:
            self._problem(f"{name} stands where {len(branch) + 1} should")
        if self._agent not in (None, record.agent_id):
            self._problem(f"{name} is another agent's: {record.agent_id}")
        self._agent = self._agent or record.agent_id
        found, computed = line_digest(line), chain_digest(self._previous(record, branch, name), line)
        if found != computed:
            self._problem(f"{name} is not as it was written: digest {found}, computed {computed}")
        branch.append(bytes.fromhex(computed.removeprefix("blake3:")))
        if isinstance(record.kind, BranchMerged):
            self._merged.add(record.kind.source_branch_id)

    def _previous(self, record: EventRecord, branch: list[bytes], name: str) -> str:
        """The digest that the event is chained to."""
        if branch:
            return _text(branch[-1])
        match record.kind:
            case BranchCreated(fork_point_seq=fork, from_branch=parent) if fork > 0:
                digests = self._digests.get(parent or MAIN, [])
                if fork <= len(digests):
                    return _text(digests[fork - 1])
                self._problem(f"{name} forks at {fork} of {parent or MAIN}, which has {len(digests)} events")
            case BranchCreated():
                pass
            case _ if record.branch_id != MAIN:
                self._problem(f"{name} begins a branch and is no BranchCreated")
            case _:
                pass
        return ""

    def _problem(self, text: str) -> None:
        if len(self._problems) < MOST_PROBLEMS:
            self._problems.append(text)


def _text(digest: bytes) -> str:
    return f"blake3:{digest.hex()}"
