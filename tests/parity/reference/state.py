"""Sessions, branches and tickets as the original holds them in memory."""

from dataclasses import dataclass, field
from typing import Any

from tests.parity.reference.mind import Mind
from vagus.contract.policy import PolicySet


class Failed(Exception):
    """A call returned an error; `text` is its outermost words, `kind` our class where it has none."""

    def __init__(self, text: str, kind: str | None = None) -> None:
        super().__init__(text)
        self.text = text
        self.kind = kind


@dataclass(slots=True)
class Branch:
    name: str
    parent: str | None = None
    fork: int = 0
    head: int = 0
    next: int = 1
    merged_into: str | None = None
    mind: Mind = field(default_factory=Mind)
    prefix: list[dict[str, str]] = field(default_factory=list)
    """The conversation that a fork begins with (W66)."""
    ends: list[tuple[int, Mind]] = field(default_factory=lambda: [(0, Mind())])
    """The mind at first and after each turn, by the sequence that ended it."""
    busy: bool = False
    calls: set[str] = field(default_factory=set)

    def info(self) -> dict[str, Any]:
        return {
            "branch_id": self.name,
            "parent_branch": self.parent,
            "fork_sequence": self.fork,
            "head_sequence": self.head,
            "merged_into": self.merged_into,
        }


@dataclass(slots=True)
class Session:
    manifest: dict[str, Any]
    policy: PolicySet
    branches: dict[str, Branch]
    mind: Mind = field(default_factory=Mind)
    """Unless W14 holds: then each branch has its own."""
    tick_count: int = 0


@dataclass(slots=True)
class Ticket:
    approval_id: str
    session: str
    branch: str
    call: dict[str, Any]
    capability: str
    waiting: "Waiting"

    def as_json(self) -> dict[str, Any]:
        tool = self.call["tool_name"]
        return {
            "approval_id": self.approval_id,
            "session_id": self.session,
            "call_id": self.call["call_id"],
            "tool_name": tool,
            "capability": self.capability,
            "reason": f"approval required for tool {tool}",
            "created_at": "<ts>",
        }


@dataclass(slots=True)
class Waiting:
    """A call that waits for people: how many tickets have no answer yet."""

    open: int = 0
