"""What checking gave: violations, each with its place and one sentence, and how much was looked at."""

from collections import Counter
from collections.abc import Iterator
from enum import StrEnum
from typing import Final

import msgspec

from chaos.checker.event import Event

MOST: Final = 1000
"""Violations that are kept and shown; all are counted."""


class Rule(StrEnum):
    """What must be so."""

    STREAM = "stream"
    COMMIT = "commit"
    SEQUENCE = "sequence"
    DIGEST = "digest"
    FORK = "fork"
    EVENT = "event"
    MERGED = "merged"
    CLOSED = "closed"
    TURN = "turn"
    TICK = "tick"
    REPLY = "reply"
    CALL = "call"
    GRANT = "grant"
    LEDGER = "ledger"
    APPROVAL = "approval"
    STATE = "state"
    FIREHOSE = "firehose"
    ERASED = "erased"
    QUEUE = "queue"
    DEAD = "dead"


PROVEN: Final = {
    Rule.STREAM: "no message of a log is missing",
    Rule.COMMIT: "subject, headers and message id of a commit agree with its lines",
    Rule.SEQUENCE: "sequences count from 1 on each branch, without gaps or repetitions",
    Rule.DIGEST: "every line is chained to the one before, a fork's first to its parent's at the fork",
    Rule.FORK: "main begins with SessionCreated, a fork with BranchCreated, at an event that its parent has",
    Rule.EVENT: "events are readable, their ids unique over all sessions, their agent one a session",
    Rule.MERGED: "nothing is written to a branch after it was merged, and it was merged as a whole",
    Rule.CLOSED: "nothing is written to a session after it was closed",
    Rule.TURN: "turns begin and end, one at a time on a branch, each event within its own",
    Rule.TICK: "an accepted tick ended exactly once, on its branch, or was refused and never began",
    Rule.REPLY: "a reply says what the log says",
    Rule.CALL: "every requested call has exactly one end",
    Rule.GRANT: "no tool ran without a positive verdict and a grant for exactly that call",
    Rule.LEDGER: "by the tools' own account they ran once, or as often as they may, and when the log says so",
    Rule.APPROVAL: "every ticket is resolved at most once, on its own branch, as it was answered",
    Rule.STATE: "the state follows from the events, and every checkpoint is its hash",
    Rule.FIREHOSE: "the firehose has every event of every log once, as it is there, in the log's order",
    Rule.ERASED: "of an erased session nothing is left but what says that it was erased",
    Rule.QUEUE: "the work queues run empty",
    Rule.DEAD: "there are no dead letters but expected ones",
}
"""Each rule in a sentence."""


class Violation(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Something that must not be so."""

    rule: Rule
    text: str
    session: str = ""
    branch: str = ""
    sequence: int = 0
    """Of the event on its branch; 0: no single one."""

    def __str__(self) -> str:
        place = "/".join(part for part in (self.session, self.branch) if part)
        at = f" {self.sequence}" if self.sequence else ""
        return f"{self.rule:<9} {place}{at}: {self.text}" if place else f"{self.rule:<9} {self.text}"


class Counts(msgspec.Struct, kw_only=True):
    """How much was looked at."""

    sessions: int = 0
    branches: int = 0
    commits: int = 0
    events: int = 0
    ticks: int = 0
    """Turns that a tick began and that have ended."""
    calls: int = 0
    tool_runs: int = 0
    """Calls that were granted."""
    approvals: int = 0
    checkpoints: int = 0
    accepted: int = 0
    """Ticks whose storing was acknowledged to a client."""
    refused: int = 0
    """Of these, those that never began, rightly."""
    replies: int = 0
    """Of accepted ticks, compared with the log."""
    ledger_runs: int = 0
    """Tool runs that the tools themselves tell of."""
    relayed: int = 0
    """Events of the firehose, compared with the log."""
    trimmed: int = 0
    """Sessions whose first events the firehose has dropped, or never had: only the rest was compared."""
    erased: int = 0
    """Sessions."""
    erased_ticks: int = 0
    """Ticks of erased sessions that a client was told the end of: no log tells of them any more."""
    dead_letters: int = 0


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """All of it."""

    ok: bool
    root: str
    took_s: float
    counts: Counts
    by_rule: dict[str, int]
    """Violations of each rule that has any."""
    violations: tuple[Violation, ...]
    """The first ones."""


class Findings:
    """Collects."""

    def __init__(self) -> None:
        self.counts = Counts()
        self._kept: list[Violation] = []
        self._by_rule: Counter[Rule] = Counter()

    def say(self, rule: Rule, text: str, session: str = "", branch: str = "", sequence: int = 0) -> None:
        """A violation."""
        self._by_rule[rule] += 1
        if len(self._kept) < MOST:
            self._kept.append(
                Violation(rule=rule, text=text, session=session, branch=branch, sequence=sequence)
            )

    def report(self, root: str, took_s: float) -> Report:
        """Everything that was found."""
        return Report(
            ok=not self._by_rule,
            root=root,
            took_s=round(took_s, 2),
            counts=self.counts,
            by_rule={rule.value: number for rule, number in self._by_rule.items()},
            violations=tuple(self._kept),
        )


class Notes:
    """What is found in one session."""

    def __init__(self, findings: Findings, session: str) -> None:
        self.session = session
        self.counts = findings.counts
        self._findings = findings

    def say(self, rule: Rule, text: str, event: Event | None = None, branch: str = "") -> None:
        """A violation at an event, or on a branch."""
        if event is None:
            self._findings.say(rule, text, self.session, branch)
        else:
            self._findings.say(rule, text, self.session, event.branch_id, event.sequence)


def lines(report: Report) -> Iterator[str]:
    """The report for people."""
    counts = msgspec.structs.asdict(report.counts)
    for name, number in counts.items():
        yield f"{name.replace('_', ' '):<14} {number:>9}"
    yield ""
    for violation in report.violations:
        yield f"✗ {violation}"
    found = sum(report.by_rule.values())
    if found > len(report.violations):
        yield f"  … and {found - len(report.violations)} more"
    shown = ", ".join(f"{number} {rule}" for rule, number in report.by_rule.items())
    said = f"✗ {found} violation{'s' * (found > 1)}: {shown}" if found else "✓ no violations"
    yield f"{said}, checked in {report.took_s:g} s"
