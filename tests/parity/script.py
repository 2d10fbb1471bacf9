"""What a step scripts for the ports: answers of the model, reports of tools, and the files they touch."""

import posixpath
from collections import deque
from dataclasses import dataclass, field
from typing import Any

from tests.parity.trace import Object

ERRORS = {
    "CapabilityDenied": "capability denied",
    "ToolNotFound": "tool not found",
    "ApprovalRequired": "approval required",
    "Io": "io error",
    "Serialization": "serialization error",
    "InvalidState": "invalid state",
    "Runtime": "runtime error",
    "BudgetExceeded": "budget exceeded",
}

DECLARED = {"fs.write": "path", "fs.rm": "path"}
"""The tools of these traces that declare which file they change, and the field of the input that names it."""

SCAFFOLD = {
    "manifest.json": "",
    "state/thread.md": "# Session Thread\n\n- Session created\n",
    "state/plan.yaml": "version: 1\nmode: explore\nsteps:\n  - id: bootstrap\n    status: pending\n",
    "state/task_graph.json": "",
    "artifacts/build/.": "",
    "artifacts/reports/.": "",
}
"""The files that tools of these traces may meet in a new workspace, and folders as files named `.`."""


def error_text(error: Object) -> str:
    """A port's error as the original shows it."""
    if error["kind"] == "SequenceConflict":
        return f"sequence conflict: expected {error['expected']}, got {error['actual']}"
    return f"{ERRORS[error['kind']]}: {error['message']}"


@dataclass(slots=True)
class Files:
    """The workspaces of all sessions, by path below the folder of sessions."""

    content: dict[str, str] = field(default_factory=dict)

    def scaffold(self, session: str) -> None:
        for path, text in SCAFFOLD.items():
            self.content.setdefault(f"{session}/{path}", text)

    def write(self, session: str, path: str, text: str) -> None:
        self.content[self.full(session, path)] = text

    def delete(self, session: str, path: str) -> None:
        self.content.pop(self.full(session, path), None)

    def full(self, session: str, path: str) -> str:
        return posixpath.normpath(f"{session}/{path.lstrip('/')}")

    def read(self, session: str, path: str) -> str | None:
        """The text, None if there is nothing; IsADirectoryError."""
        full = self.full(session, path)
        if any(known.startswith(f"{full}/") for known in self.content):
            raise IsADirectoryError
        return self.content.get(full)


@dataclass(slots=True)
class Script:
    """Of one step, or of several ticks at once; what they do not use is thrown away."""

    files: Files
    answers: dict[tuple[str, str], deque[Object]] = field(default_factory=dict)
    tools: list[Object] = field(default_factory=list)

    def add(self, session: str, branch: str, step: Object) -> None:
        """What a tick scripts."""
        if step.get("model") is not None:
            self.answers.setdefault((session, branch), deque()).append(step["model"])
        self.tools += step.get("tools") or []

    def answer(self, session: str, branch: str) -> Object:
        """The model's next answer."""
        queue = self.answers.get((session, branch))
        if not queue:
            return {"error": {"kind": "Runtime", "message": "no scripted completion"}}
        return queue.popleft()

    def run(self, session: str, call: Object) -> tuple[Object | None, str | None]:
        """The next report that a tool gives on this call, or the harness's error."""
        for position, entry in enumerate(self.tools):
            if entry.get("match_call_id") in (None, call["call_id"]):
                del self.tools[position]
                return self._played(session, entry)
        return None, f"tool not found: {call['tool_name']}"

    def _played(self, session: str, entry: Object) -> tuple[Object | None, str | None]:
        writes: dict[str, Any] = entry.get("write_files") or {}
        for path, text in writes.items():
            self.files.write(session, path, text)
        for path in entry.get("make_dirs") or []:
            self.files.content[f"{self.files.full(session, path)}/."] = ""
        for path in entry.get("delete_files") or []:
            self.files.delete(session, path)
        if "error" in entry:
            return None, error_text(entry["error"])
        return entry["report"], None
