"""The files of a session that follow from its log: which they are, and what they hold.

They are written outside the reply's path; after a crash they are written again from what the new owner reads
of the log.
"""

import json
from collections.abc import Iterable, Iterator
from typing import Final

import msgspec

from vagus.contract.events import (
    CheckpointCreated,
    Custom,
    EventRecord,
    FileMutated,
    StateEstimated,
    ToolCallCompleted,
)
from vagus.contract.json import Json, compact
from vagus.contract.policy import SpanStatus
from vagus.contract.sessions import (
    CheckpointManifest,
    FileProvenance,
    Observation,
    Provenance,
    SessionManifest,
)
from vagus.contract.tools import ToolExecutionReport
from vagus_kernel.filewriter import Add, Append, FileWork, Replace, encoded
from vagus_kernel.folders import Tree, holds, replace_file

MANIFEST: Final = "manifest.json"
FOLDERS: Final = (
    "events",
    "checkpoints",
    "state",
    "tools/runs",
    "artifacts/build",
    "artifacts/reports",
    "memory",
    "inbox/human_requests",
    "outbox/ui_stream",
)
SCAFFOLD: Final = {
    "state/thread.md": "# Session Thread\n\n- Session created\n",
    "state/plan.yaml": "version: 1\nmode: explore\nsteps:\n  - id: bootstrap\n    status: pending\n",
    "state/task_graph.json": json.dumps(
        {"edges": [], "nodes": [{"id": "bootstrap", "type": "task"}]}, indent=2
    ),
}
_EXIT: Final = {SpanStatus.OK: 0, SpanStatus.ERROR: 1}
"""Of a report that is rebuilt; the log does not have it."""


def initialise(root: str, manifest: SessionManifest) -> None:
    """Make the workspace, unless it is there; what is in it stays. Blocking."""
    with Tree(root) as tree:
        if holds(tree.folder(""), MANIFEST):
            return
        for folder in FOLDERS:
            tree.folder(folder)
        for path, text in SCAFFOLD.items():
            place, _, name = path.rpartition("/")
            if not holds(tree.folder(place), name):
                replace_file(tree.folder(place), name, text.encode())
        replace_file(tree.folder(""), MANIFEST, encoded(manifest))  # last: with it, all is there


def files_of(
    records: Iterable[EventRecord],
    *,
    workspace: str,
    lake: str,
    checkpoint_keep: int,
    report: ToolExecutionReport | None = None,
) -> Iterator[FileWork]:
    """What the events of one commit mean for the files.

    `report` is the one that they came from; after a crash there is none, and what of it the log holds is
    written only where nothing is.
    """
    estimated: tuple[EventRecord, StateEstimated] | None = None
    completed: tuple[EventRecord, ToolCallCompleted] | None = None
    mutated: list[FileProvenance] = []
    for record in records:
        match record.kind:
            case StateEstimated() as kind:
                estimated = (record, kind)
            case ToolCallCompleted() as kind:
                completed, mutated = (record, kind), []
                yield Add(
                    base=workspace,
                    path="tools/runs",
                    name=kind.tool_run_id,
                    file="report.json",
                    content=report or _remembered(kind),
                    anew=report is not None,
                )
            case FileMutated(path=path, content_hash=content_hash):
                mutated.append(FileProvenance(path=path, sha256=content_hash))
            case Custom(event_type="ObservationExtracted") as kind if completed is not None:
                observation = _observation(kind, completed, mutated)
                yield Append(workspace, "memory/observations.jsonl", msgspec.json.encode(observation))
            case CheckpointCreated() as kind:
                checkpoint = CheckpointManifest(
                    checkpoint_id=kind.checkpoint_id,
                    session_id=record.session_id,
                    branch_id=record.branch_id,
                    created_at=record.timestamp,
                    event_sequence=kind.event_sequence,
                    state_hash=kind.state_hash,
                )
                yield Add(
                    base=workspace,
                    path="checkpoints",
                    name=kind.checkpoint_id,
                    file=MANIFEST,
                    content=checkpoint,
                    keep=checkpoint_keep,
                )
    if estimated is not None:
        record, kind = estimated
        heartbeat = {"at": record.timestamp, "mode": kind.mode, "state": kind.state}
        yield Replace(workspace, "state/heartbeat.json", heartbeat)
        yield Replace(lake, "state.json", kind.state)
        yield Replace(lake, "mode.txt", kind.mode.value)


def _remembered(kind: ToolCallCompleted) -> dict[str, Json]:
    """A report as far as the log tells it."""
    return {
        "tool_run_id": kind.tool_run_id,
        "call_id": kind.call_id,
        "tool_name": kind.tool_name,
        "exit_status": _EXIT.get(kind.status, -1),
        "duration_ms": kind.duration_ms,
        "outcome": kind.result,
    }


def _observation(
    custom: Custom, completed: tuple[EventRecord, ToolCallCompleted], files: list[FileProvenance]
) -> Observation:
    record, kind = completed
    data = custom.data if isinstance(custom.data, dict) else {}
    result = compact(kind.result).decode()
    return Observation(
        observation_id=str(data.get("observation_id")),
        created_at=record.timestamp,
        text=f"tool call completed ({kind.tool_name}): {result} [status={kind.status.value.capitalize()}]",
        tags=("auto",),
        provenance=Provenance(event_start=record.sequence, event_end=record.sequence, files=tuple(files)),
    )
