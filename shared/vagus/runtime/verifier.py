"""Checks that a session's log is whole: nothing missing, nothing twice, nothing changed since it was written.

Every line is chained to the one before it on its branch by a digest; a fork's first line is chained to its
parent's line at the fork. Sequences count from 1 on each branch without gaps, commits on the session. What a
log cannot tell of itself is that its end is missing: the registry remembers how far it went.
"""

from typing import Final

import msgspec

from vagus.contract.codec import chain_digest, line_digest
from vagus.contract.errors import Malformed
from vagus.contract.events import BranchCreated, BranchMerged, EventRecord
from vagus.contract.ids import MAIN
from vagus.contract.sessions import SessionSummary
from vagus.runtime.eventlog import Commit

MOST_PROBLEMS: Final = 20
"""Described; one broken line may break many after it."""
MOST_MISSING: Final = 1_000_000
"""Events that may be missing in a row; a line that claims more is itself wrong."""


class BranchVerified(msgspec.Struct, frozen=True, kw_only=True):
    """One branch of a verified log."""

    branch_id: str
    events: int
    """Up to its last, those that are missing included."""
    digest: str
    """Of its last event: two logs with equal last digests are equal."""


class BadEvent(msgspec.Struct, frozen=True, kw_only=True):
    """An event that is not as it was written, or is missing."""

    branch_id: str | None
    """None, like `sequence`, if only the commit is known, because it cannot be read."""
    sequence: int | None
    commit: int
    """Its commit's place in the session's stream."""
    problem: str
    """One line that names all of this."""


class Verification(msgspec.Struct, frozen=True, kw_only=True):
    """What checking a log gave."""

    session_id: str
    ok: bool
    commits: int
    events: int
    branches: tuple[BranchVerified, ...]
    problems: tuple[str, ...]
    """The first ones, each naming the event."""
    first_bad: BadEvent | None = None
    """That of the first problem."""


class _Branch:
    """What is known of a branch's events."""

    def __init__(self) -> None:
        self.digests: list[bytes | None] = []
        """None: missing, or not readable."""
        self.commit = 0
        """The last one on it."""


class Verifier:
    """Takes a session's commits in stream order and keeps the digests, 32 bytes an event, for forks."""

    def __init__(self, session_id: str) -> None:
        self._session_id = session_id
        self._branches: dict[str, _Branch] = {}
        self._merged: set[str] = set()
        self._commits = 0
        self._end = 0
        self._agent: str | None = None
        self._lost: list[int] = []
        """Commits that are missing, or cannot be read."""
        self._told: set[int] = set()
        """Those of them that a missing event was told for."""
        self._bad: list[BadEvent] = []

    @property
    def full(self) -> bool:
        """Whether as much is wrong as is told."""
        return len(self._bad) + len(self._lost) >= MOST_PROBLEMS

    def take(self, commit: Commit) -> None:
        """Check one commit. A place that is left out since the last one is that of a lost commit."""
        self._lose(commit.stream_sequence)
        self._end = commit.stream_sequence
        self._commits += 1
        branch = self._branches.setdefault(commit.branch_id, _Branch())
        if commit.branch_id in self._merged:
            self._problem(commit, commit.first, f"is on branch {commit.branch_id}, merged before it")
        try:
            records, lines = commit.records(), commit.lines()
        except Malformed as error:
            self._problem(commit, commit.first, f"cannot be read: {error.message}")
            branch.digests += [None] * len(commit.lines())
        else:
            if not records or (records[0].sequence, records[-1].sequence) != (commit.first, commit.last):
                self._problem(
                    commit,
                    commit.first,
                    "begins a commit that does not hold the sequences that its headers name",
                )
            for record, line in zip(records, lines, strict=True):
                self._check(record, line, commit, branch)
        branch.commit = commit.stream_sequence

    def result(self, head: int = 0, known: SessionSummary | None = None) -> Verification:
        """What was found in a log that ends at `head` and should hold what the registry knows."""
        self._end_at(head, known)
        bad = sorted(self._bad, key=lambda found: found.commit)
        branches = tuple(
            BranchVerified(branch_id=name, events=len(branch.digests), digest=_text(branch.digests[-1]))
            for name, branch in sorted(self._branches.items())
            if branch.digests
        )
        return Verification(
            session_id=self._session_id,
            ok=not bad,
            commits=self._commits,
            events=sum(branch.events for branch in branches),
            branches=branches,
            problems=tuple(found.problem for found in bad),
            first_bad=bad[0] if bad else None,
        )

    def _end_at(self, head: int, known: SessionSummary | None) -> None:
        self._lose(head + 1)
        self._end = max(self._end, head)
        for info in known.branches if known is not None else ():
            branch = self._branches.setdefault(info.branch_id, _Branch())
            if info.head_sequence > len(branch.digests):
                lost = [commit for commit in self._lost if commit > branch.commit]
                self._missing(info.branch_id, branch, info.head_sequence, lost)
        for commit in self._lost:
            if commit not in self._told:
                self._add(None, None, commit, f"commit {commit} is missing: {_LOST}")

    def _check(self, record: EventRecord, line: bytes, commit: Commit, branch: _Branch) -> None:
        sequence, expected = record.sequence, len(branch.digests) + 1
        if (record.session_id, record.branch_id) != (self._session_id, commit.branch_id):
            self._problem(commit, sequence, f"says it belongs to {record.session_id}/{record.branch_id}")
        lost = [place for place in self._lost if place > branch.commit]
        if lost and expected < sequence <= expected + MOST_MISSING:
            self._missing(commit.branch_id, branch, sequence - 1, lost)
        elif sequence != expected:
            self._problem(commit, sequence, f"stands where {expected} should")
        if self._agent not in (None, record.agent_id):
            self._problem(commit, sequence, f"is another agent's: {record.agent_id}")
        self._agent = self._agent or record.agent_id
        found, previous = line_digest(line), self._previous(record, commit, branch)
        computed = found if previous is None else chain_digest(previous, line)
        if found is None or found != computed:
            self._problem(commit, sequence, f"is not as it was written: digest {found}, computed {computed}")
        branch.digests.append(_bytes(computed))
        if isinstance(record.kind, BranchMerged):
            self._merged.add(record.kind.source_branch_id)

    def _previous(self, record: EventRecord, commit: Commit, branch: _Branch) -> str | None:
        """The digest that the event is chained to; None if that event is missing."""
        if branch.digests:
            return _text(branch.digests[-1]) or None
        match record.kind:
            case BranchCreated(fork_point_seq=fork, from_branch=parent) if fork > 0:
                digests = self._branches.get(parent or MAIN, _Branch()).digests
                if fork <= len(digests):
                    return _text(digests[fork - 1]) or None
                self._problem(
                    commit,
                    record.sequence,
                    f"forks at {fork} of {parent or MAIN}, which has {len(digests)} events",
                )
                return None
            case BranchCreated():
                pass
            case _ if record.branch_id != MAIN:
                self._problem(commit, record.sequence, "begins a branch and is no BranchCreated")
            case _:
                pass
        return ""

    def _lose(self, before: int) -> None:
        """Everything between the last commit and `before` is missing."""
        self._lost += range(self._end + 1, min(before, self._end + 1 + MOST_PROBLEMS))

    def _missing(self, branch_id: str, branch: _Branch, last: int, lost: list[int]) -> None:
        """The branch's next events, up to `last`, are missing: in lost commits, or after the log's end."""
        first, commit = len(branch.digests) + 1, lost[0] if lost else self._end + 1
        self._told.update(lost)
        match lost:
            case []:
                place = f"commit {commit} or later"
            case [_]:
                place = f"commit {commit}"
            case _:
                place = f"one of the commits {commit} to {lost[-1]}"
        more = "" if last == first else f", and those up to {last}"
        problem = f"event {first} of {branch_id} ({place}) is missing{more}: {_LOST}"
        self._add(branch_id, first, commit, problem)
        branch.digests += [None] * min(last - first + 1, MOST_MISSING)

    def _problem(self, commit: Commit, sequence: int, text: str) -> None:
        place = f"event {sequence} of {commit.branch_id} (commit {commit.stream_sequence})"
        self._add(commit.branch_id, sequence, commit.stream_sequence, f"{place} {text}")

    def _add(self, branch_id: str | None, sequence: int | None, commit: int, problem: str) -> None:
        if len(self._bad) < MOST_PROBLEMS:
            self._bad.append(BadEvent(branch_id=branch_id, sequence=sequence, commit=commit, problem=problem))


_LOST: Final = "the store has lost it, or cannot read it"


def _bytes(digest: str | None) -> bytes | None:
    """None for a digest that a line claims, and that is none."""
    try:
        return bytes.fromhex((digest or "").removeprefix("blake3:")) or None
    except ValueError:
        return None


def _text(digest: bytes | None) -> str:
    """Empty for an event that is missing."""
    return "" if digest is None else f"blake3:{digest.hex()}"
