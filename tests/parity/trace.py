"""The golden traces: what was done to the original, and what it told.

A trace is read as JSON and left so: its shape is described in golden/README.md.
"""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, TypeAlias

GOLDEN = Path(__file__).parent / "golden"

Object: TypeAlias = Mapping[str, Any]
"""A JSON object."""


@dataclass(frozen=True, slots=True)
class Trace:
    """One scenario."""

    name: str
    config: Object
    middlewares: tuple[Object, ...]
    steps: tuple[Object, ...]
    outputs: tuple[Object, ...]
    events: Mapping[str, Mapping[str, Any]]
    """By session and branch: whole records, or as much of them as `events_detail` says."""
    events_detail: str
    """`full`, `kinds` ({sequence, kind}), `types` ([sequence, type]) or `none` ({count})."""
    requests_detail: str
    """`full`, or `none`: what went to the ports was not recorded."""
    baseline: bool
    """Its model is the baseline provider, its tools are the built-in ones."""

    def __str__(self) -> str:
        return self.name


@cache
def load(name: str) -> Trace:
    """The trace of this name."""
    data = json.loads((GOLDEN / f"{name}.json").read_bytes())
    return Trace(
        name=data["scenario"],
        config=data["config"],
        middlewares=tuple(data["middlewares"]),
        steps=tuple(data["steps"]),
        outputs=tuple(data["outputs"]),
        events=data["events"],
        events_detail=data["events_detail"],
        requests_detail="none" if data.get("kernel") == "builder" else data.get("requests_detail", "full"),
        baseline=data.get("kernel") == "builder",
    )


def names() -> list[str]:
    """Every trace there is."""
    return sorted(path.stem for path in GOLDEN.glob("*.json") if not path.stem.startswith("table_"))


def addressed(step: Object, sessions: Iterable[str]) -> Object:
    """A step that says for which session it is: the only one there is, where it leaves that out."""
    return step if "session_id" in step else {**step, "session_id": next(iter(sessions), None)}
