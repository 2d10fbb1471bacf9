"""The files of a session that follow from its log: which they are, and what they hold.

They are written outside the reply's path; after a crash they are written again from what the new owner reads
of the log.
"""

import json
from collections.abc import Iterable, Iterator
from pathlib import Path
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
from vagus.contract.json import compact
from vagus.contract.sessions import (
    CheckpointManifest,
    FileProvenance,
    Observation,
    Provenance,
    SessionManifest,
)
from vagus.contract.tools import ToolExecutionReport
from vagus_kernel.filewriter import Add, Append, FileWork, Replace, replace_file

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


def initialise(root: Path, manifest: SessionManifest) -> None:
    """Make the workspace; what is there stays. Blocking."""
    for folder in FOLDERS:
        (root / folder).mkdir(parents=True, exist_ok=True)
    for name, text in SCAFFOLD.items():
        if not (root / name).exists():
            replace_file(str(root / name), text)
    if not (root / "manifest.json").exists():
        replace_file(str(root / "manifest.json"), manifest)


def files_of(
    records: Iterable[EventRecord],
    *,
    workspace: str,
    lake: str,
    checkpoint_keep: int,
    report: ToolExecutionReport | None = None,
) -> Iterator[FileWork]:
    """What the events of one commit mean for the files. `report` is the one that they came from."""
    estimated: tuple[EventRecord, StateEstimated] | None = None
    completed: tuple[EventRecord, ToolCallCompleted] | None = None
    mutated: list[FileProvenance] = []
    for record in records:
        match record.kind:
            case StateEstimated() as kind:
                estimated = (record, kind)
            case ToolCallCompleted() as kind:
                completed, mutated = (record, kind), []
                yield Replace(
                    f"{workspace}/tools/runs/{kind.tool_run_id}/report.json",
                    report if report is not None else kind,
                )
            case FileMutated(path=path, content_hash=content_hash):
                mutated.append(FileProvenance(path=path, sha256=content_hash))
            case Custom(event_type="ObservationExtracted") as kind if completed is not None:
                observation = _observation(kind, completed, mutated)
                yield Append(f"{workspace}/memory/observations.jsonl", msgspec.json.encode(observation))
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
                    folder=f"{workspace}/checkpoints",
                    name=kind.checkpoint_id,
                    file="manifest.json",
                    content=checkpoint,
                    keep=checkpoint_keep,
                )
    if estimated is not None:
        record, kind = estimated
        heartbeat = {"at": record.timestamp, "mode": kind.mode, "state": kind.state}
        yield Replace(f"{workspace}/state/heartbeat.json", heartbeat)
        yield Replace(f"{lake}/state.json", kind.state)
        yield Replace(f"{lake}/mode.txt", kind.mode.value)


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
