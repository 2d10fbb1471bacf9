"""An account: what somebody (the original, the reference, the core, live processes) tells of a trace."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, TypeAlias

Json: TypeAlias = Any


@dataclass(slots=True)
class Told:
    """One event of the log, without extension events; sequences count from 1 on its branch."""

    step: int
    """During which step it was written, -1 if that is not known."""
    kind: dict[str, Json]


@dataclass(slots=True)
class Output:
    """What one step gave: `ok`, or an error's text; and what went to the ports meanwhile."""

    op: str
    ok: Json = None
    error: str | None = None
    error_type: str | None = None
    """Our error's class, where the original has no text of its own for it."""
    model_requests: list[Json] = field(default_factory=list)
    tool_requests: list[Json] = field(default_factory=list)
    policy_decisions: list[Json] = field(default_factory=list)


@dataclass(slots=True)
class Account:
    """All of it."""

    events: dict[str, dict[str, list[Told]]] = field(default_factory=dict)
    """By session and branch."""
    outputs: list[Output] = field(default_factory=list)

    def append(self, session: str, branch: str, told: Told) -> int:
        """Add an event; returns its sequence."""
        events = self.events.setdefault(session, {}).setdefault(branch, [])
        events.append(told)
        return len(events)


Events: TypeAlias = Mapping[str, Mapping[str, list[Told]]]
