"""The files of a session that follow from its log: what they hold, and the thread that writes them.

They are written to a temporary name and renamed, without fsync, outside the reply's path; after a crash they
are written again from what the new owner reads of the log.
"""

import json
import logging
import os
import shutil
from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import anyio
import msgspec
from anyio.to_thread import run_sync

from vagus.contract.events import (
    CheckpointCreated,
    Custom,
    EventRecord,
    FileMutated,
    StateEstimated,
    ToolCallCompleted,
)
from vagus.contract.json import Json, compact
from vagus.contract.sessions import (
    CheckpointManifest,
    FileProvenance,
    Observation,
    Provenance,
    SessionManifest,
)
from vagus.contract.tools import ToolExecutionReport

_log = logging.getLogger(__name__)

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
PENDING_FILES: Final = 4096
"""Files waiting to be written; the kernel waits when there are more."""
TAIL_BYTES: Final = 256 * 1024
"""Of an appended file, read once to find out which lines it has."""


@dataclass(frozen=True, slots=True)
class Replace:
    """A file's whole content."""

    path: Path
    content: bytes


@dataclass(frozen=True, slots=True)
class Append:
    """One line of a file; written once, whoever asks again."""

    path: Path
    line: bytes


@dataclass(frozen=True, slots=True)
class Prune:
    """Keep only the newest folders in a folder."""

    folder: Path
    keep: int


FileWork = Replace | Append | Prune


def pretty(value: Json) -> bytes:
    """JSON as the original writes files: two spaces, no newline at the end."""
    return msgspec.json.format(msgspec.json.encode(value), indent=2)


def initialise(root: Path, manifest: SessionManifest) -> None:
    """Make the workspace; what is there stays. Blocking."""
    for folder in FOLDERS:
        (root / folder).mkdir(parents=True, exist_ok=True)
    for name, text in SCAFFOLD.items():
        if not (root / name).exists():
            _replace(root / name, text.encode())
    if not (root / "manifest.json").exists():
        _replace(root / "manifest.json", pretty(manifest))


def files_of(
    records: Iterable[EventRecord],
    *,
    workspace: Path,
    lake: Path,
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
                    workspace / "tools" / "runs" / kind.tool_run_id / "report.json",
                    pretty(report if report is not None else kind),
                )
            case FileMutated(path=path, content_hash=content_hash):
                mutated.append(FileProvenance(path=path, sha256=content_hash))
            case Custom(event_type="ObservationExtracted") as kind if completed is not None:
                observation = _observation(kind, completed, mutated)
                yield Append(workspace / "memory" / "observations.jsonl", msgspec.json.encode(observation))
            case CheckpointCreated() as kind:
                checkpoint = CheckpointManifest(
                    checkpoint_id=kind.checkpoint_id,
                    session_id=record.session_id,
                    branch_id=record.branch_id,
                    created_at=record.timestamp,
                    event_sequence=kind.event_sequence,
                    state_hash=kind.state_hash,
                )
                folder = workspace / "checkpoints" / kind.checkpoint_id
                yield Replace(folder / "manifest.json", pretty(checkpoint))
                if estimated is not None:
                    yield Replace(folder / "state.json", pretty(estimated[1].state))
                yield Prune(workspace / "checkpoints", checkpoint_keep)
    if estimated is not None:
        record, kind = estimated
        heartbeat = {"at": record.timestamp, "mode": kind.mode, "state": kind.state}
        yield Replace(workspace / "state" / "heartbeat.json", pretty(heartbeat))
        yield Replace(lake / "state.json", pretty(kind.state))
        yield Replace(lake / "mode.txt", kind.mode.value.encode())


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


class FileWriter:
    """Writes files in one thread, in order, the latest content of each once."""

    def __init__(self) -> None:
        self._replace: dict[Path, bytes] = {}
        self._append: deque[Append] = deque()
        self._prune: dict[Path, int] = {}
        self._known: dict[Path, set[bytes]] = {}
        self._work = anyio.Event()
        self._idle = anyio.Event()
        self._idle.set()

    @property
    def pending(self) -> int:
        """Files not written yet."""
        return len(self._replace) + len(self._append)

    async def submit(self, work: Iterable[FileWork]) -> None:
        """Have files written soon; waits while too many are pending."""
        for item in work:
            match item:
                case Replace(path=path, content=content):
                    self._replace[path] = content
                case Append():
                    self._append.append(item)
                case Prune(folder=folder, keep=keep):
                    self._prune[folder] = keep
        if self.pending:
            self._work.set()
            if self._idle.is_set():
                self._idle = anyio.Event()
        if self.pending > PENDING_FILES:
            await self.flushed()

    async def flushed(self) -> None:
        """Wait until what was submitted is written."""
        await self._idle.wait()

    async def run(self) -> None:
        """Write until cancelled; a file that cannot be written is logged and left."""
        while True:
            await self._work.wait()
            self._work = anyio.Event()
            replace, self._replace = self._replace, {}
            append, self._append = self._append, deque()
            prune, self._prune = self._prune, {}
            await run_sync(self._write, replace, append, prune)
            if not self.pending:
                self._idle.set()

    def _write(self, replace: dict[Path, bytes], append: deque[Append], prune: dict[Path, int]) -> None:
        for path, content in replace.items():
            self._attempt(path, _replace, path, content)
        for item in append:
            self._attempt(item.path, self._append_once, item)
        for folder, keep in prune.items():
            self._attempt(folder, _prune, folder, keep)

    def _attempt(self, path: Path, write: "object", *arguments: object) -> None:
        try:
            write(*arguments)  # type: ignore[operator]
        except OSError as error:
            _log.warning("cannot write %s: %s; it is rebuilt from the log later", path, error.strerror)

    def _append_once(self, item: Append) -> None:
        known = self._known.get(item.path)
        if known is None:
            if len(self._known) > PENDING_FILES:
                self._known.clear()
            known = self._known[item.path] = _tail(item.path)
        if item.line in known:
            return
        item.path.parent.mkdir(parents=True, exist_ok=True)
        with item.path.open("ab") as file:
            file.write(item.line + b"\n")
        known.add(item.line)
        if len(known) > PENDING_FILES:
            del self._known[item.path]


def _tail(path: Path) -> set[bytes]:
    try:
        with path.open("rb") as file:
            file.seek(max(0, path.stat().st_size - TAIL_BYTES))
            return set(file.read().splitlines())
    except FileNotFoundError:
        return set()


def _replace(path: Path, content: bytes) -> None:
    temporary = path.with_name(f".{path.name}.new")
    try:
        temporary.write_bytes(content)
    except FileNotFoundError:
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary.write_bytes(content)
    temporary.replace(path)


def _prune(folder: Path, keep: int) -> None:
    with os.scandir(folder) as entries:
        found = [(entry.stat().st_mtime_ns, entry.path) for entry in entries if entry.is_dir()]
    found.sort(reverse=True)
    for _, path in found[keep:]:
        shutil.rmtree(path, ignore_errors=True)
