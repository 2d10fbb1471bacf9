"""A session's log as its owner holds it: the folded state, where the log stands, and the one way to write."""

import logging
import time
from collections.abc import Awaitable, Callable, Sequence
from contextlib import aclosing
from typing import Final

from vagus.contract.codec import seal
from vagus.contract.errors import CheckpointNotFound, Conflict, SessionErased, SessionNotFound, Unavailable
from vagus.contract.events import BranchCreated, CheckpointCreated, Custom, EventRecord
from vagus.contract.extensions import LogCopied, Memory
from vagus.contract.ids import MAIN
from vagus.contract.outcome import tick_output
from vagus.runtime import telemetry
from vagus.runtime.archive.keeper import Keeper
from vagus.runtime.eventlog import At, EventLog, NoStream
from vagus_kernel.evolve import evolve, inherited
from vagus_kernel.snapshots import Snapshot, Snapshots
from vagus_kernel.state import Session

_log = logging.getLogger(__name__)

PAGE_EVENTS: Final = 500

Seen = Callable[[Sequence[EventRecord]], Awaitable[None]]
"""Is told the events of each commit that is folded at activation."""


class Ledger:
    """State and log of one session, in step."""

    def __init__(
        self, session_id: str, log: EventLog, snapshots: Snapshots, keeper: Keeper | None = None
    ) -> None:
        self.session_id = session_id
        self.session: Session | None = None
        """None: the session does not exist."""
        self.stream_sequence = 0
        self.missing = SessionNotFound(f"session not found: {session_id}")
        """What is said while the session does not exist."""
        self.archived = False
        """The log is in the archive."""
        self._marked = False
        """The log ends with the mark: before anything is written, it is taken back."""
        self._digests: dict[str, str] = {}
        self._log = log
        self._keeper = keeper
        self._snapshots = snapshots
        self._snapshot_sequence = 0
        self._snapshot_revision = 0
        self._events_since = 0

    async def load(self, seen: Seen) -> None:
        """Fold the snapshot and the commits after it; without a snapshot that fits, the whole log."""
        snapshot, self._snapshot_revision = await self._snapshots.read(self.session_id)
        try:
            fits = snapshot is not None and await self._replay(snapshot, seen)
            if not fits:
                await self._replay(None, seen)
            if snapshot is not None and not fits:
                _log.error(
                    "the log of session %s is not the one that its snapshot at commit %d was made of: it was "
                    "restored, or has lost its end; the session goes on from commit %d",
                    self.session_id,
                    snapshot.stream_sequence,
                    self.stream_sequence,
                )
        except SessionNotFound as missing:
            self.missing = missing
            self._start_from(None)
        if self._keeper is not None and (self._marked or (self.session is not None and self.session.closed)):
            self.archived = await self._keeper.is_archived(self.session_id)

    async def _replay(self, snapshot: Snapshot | None, seen: Seen) -> bool:
        """False: the log does not have what the snapshot was made of, such as after it was restored."""
        self._start_from(snapshot)
        fits, known = snapshot is None, self.stream_sequence
        async with aclosing(self._log.commits(self.session_id, after=max(0, known - 1))) as commits:
            async for commit in commits:
                records = commit.records()
                self._marked = _is_mark(records[-1])
                if not fits:
                    fits = commit.stream_sequence == known and self._digests.get(commit.branch_id) == (
                        records[-1].digest
                    )
                    if not fits:
                        return False
                    continue
                for record in records:
                    self.session = evolve(self.session, record)
                    self._digests[record.branch_id] = record.digest or ""
                self.stream_sequence = commit.stream_sequence
                self._events_since += len(records)
                await seen(records)
        return fits

    def _start_from(self, snapshot: Snapshot | None) -> None:
        self.session = snapshot.session if snapshot is not None else None
        self.stream_sequence = self._snapshot_sequence = (
            snapshot.stream_sequence if snapshot is not None else 0
        )
        self._digests = dict(snapshot.digests) if snapshot is not None else {}
        self._marked = False
        self._events_since = 0

    @property
    def snapshot_id(self) -> str | None:
        """What the state was loaded from, if from a snapshot."""
        return f"{self.session_id}@{self._snapshot_sequence}" if self._snapshot_sequence else None

    # Writing ----------------------------------------------------------------------------------------------

    async def create(self) -> None:
        """Make the log of a session that does not exist yet; idempotent."""
        await self._log.create(self.session_id)

    async def append(
        self, records: tuple[EventRecord, ...], after: Session | None, traceparent: str | None
    ) -> tuple[EventRecord, ...]:
        """Commit one decision's events, all of one branch, and take the state that they lead to.

        Returns the events as stored, with their digests. Safe to repeat after `OutcomeUnknown` and
        `Unavailable`. Raises what `EventLog.commit` raises; the state is then as before.
        """
        await self.own()
        branch_id = records[0].branch_id
        sealed = seal(records, await self._previous_digest(records[0]))
        expected = At(self.stream_sequence) if self.stream_sequence else NoStream()
        began = time.perf_counter()
        try:
            self.stream_sequence = await self._log.commit(
                self.session_id, branch_id, sealed, expected, traceparent=traceparent
            )
        except Conflict:
            telemetry.record_conflict()
            raise
        if telemetry.enabled:
            telemetry.record_commit(time.perf_counter() - began)
        self._digests[branch_id] = sealed.digest
        self._marked = _is_mark(sealed.records[-1])
        self.session = after
        self._events_since += len(records)
        return sealed.records

    async def own(self) -> None:
        """Take a marked log back, from the archive too: nobody else may write to it, nor move it as it is."""
        if self._marked and self._keeper is not None:
            await self._keeper.writable(self.session_id)
            self._marked = self.archived = False

    async def restore(self) -> None:
        """Bring the log back if it is in the archive, for reading. Raises as `Keeper.restore`."""
        if self._keeper is not None:
            await self._keeper.restore(self.session_id)
            self.archived = False

    def digest(self, branch_id: str) -> str | None:
        """Of the last event of a branch."""
        return self._digests.get(branch_id)

    def forget(self, missing: SessionNotFound) -> None:
        """Know nothing of the session any more; `missing` is what is said from now on."""
        self.missing = missing
        self.archived = False
        self._start_from(None)

    async def check(self) -> None:
        """Raise `Conflict` if somebody else has written: what is known here may then be out of date.

        A commit checks by itself. This is for what is done without one: a refusal, an answer from state, an
        input that is taken for late. Of a session that was erased nothing can be.
        """
        if isinstance(self.missing, SessionErased):
            return
        try:
            head = await self._log.head(self.session_id)
        except SessionNotFound:
            head = 0
        if head != self.stream_sequence:
            raise Conflict(f"the log of {self.session_id} is at {head}, not {self.stream_sequence}")

    async def _previous_digest(self, first: EventRecord) -> str:
        known = self._digests.get(first.branch_id)
        if known is not None:
            return known
        match first.kind:
            case BranchCreated(from_branch=parent, fork_point_seq=point) if point > 0:
                return await self._digest_at(parent or MAIN, point)
        return ""

    async def _digest_at(self, branch_id: str, sequence: int) -> str:
        branch = self.session.branches.get(branch_id) if self.session is not None else None
        if branch is not None and branch.head_sequence == sequence:
            return self._digests[branch_id]
        found = await self._log.read(self.session_id, branch_id, from_sequence=sequence, limit=1)
        if not found or found[0].sequence != sequence:
            raise Unavailable(f"event {sequence} of branch {branch_id} cannot be read yet")
        return found[0].digest or ""

    # The past ---------------------------------------------------------------------------------------------

    async def events_of(
        self, branch_id: str, command_id: str, *, first: int, before: int | None = None
    ) -> list[EventRecord]:
        """The events of a tick that began at sequence `first`: to its end, or up to sequence `before`."""
        found: list[EventRecord] = []
        while before is None or first < before:
            page = await self._page(branch_id, first)
            found += (
                record
                for record in page
                if record.correlation_id == command_id and (before is None or record.sequence < before)
            )
            if len(page) < PAGE_EVENTS or tick_output(found) is not None:
                break
            first = page[-1].sequence + 1
        return found

    async def find_tick(self, branch_id: str, command_id: str) -> list[EventRecord]:
        """The events of a tick that has ended, searched for backwards from the branch's head."""
        branch = self.session.branches.get(branch_id) if self.session is not None else None
        last = branch.head_sequence if branch is not None else 0
        while last > 0:
            first = max(1, last - PAGE_EVENTS + 1)
            for record in await self._page(branch_id, first):
                if record.correlation_id == command_id and record.causation_id == command_id:
                    return await self.events_of(branch_id, command_id, first=record.sequence)
            last = first - 1
        return []

    async def _page(self, branch_id: str, first: int) -> list[EventRecord]:
        return await self._log.read(self.session_id, branch_id, from_sequence=first, limit=PAGE_EVENTS)

    async def memory_at(self, branch_id: str, sequence: int) -> Memory:
        """What a fork of the branch at this sequence inherits."""
        session: Session | None = None
        async with aclosing(self._log.commits(self.session_id)) as commits:
            async for commit in commits:
                for record in commit.records():
                    session = evolve(session, record)
                    if record.branch_id == branch_id and record.sequence == sequence:
                        return inherited(session.branches[branch_id])
        return Memory()

    async def memory_of(self, branch_id: str, checkpoint_id: str) -> tuple[int, Memory]:
        """The sequence and the branch's mind of a checkpoint; `CheckpointNotFound` if there is none such."""
        session: Session | None = None
        async with aclosing(self._log.commits(self.session_id)) as commits:
            async for commit in commits:
                for record in commit.records():
                    session = evolve(session, record)
                    match record.kind:
                        case CheckpointCreated(checkpoint_id=found, event_sequence=sequence) if (
                            found == checkpoint_id and record.branch_id == branch_id
                        ):
                            return sequence, session.branches[branch_id].memory
        raise CheckpointNotFound(f"checkpoint not found on branch {branch_id}: {checkpoint_id}")

    # Snapshots --------------------------------------------------------------------------------------------

    def snapshot_due(self, events: int) -> bool:
        """Whether at least so many events are not in the latest snapshot."""
        return self.session is not None and self._events_since >= events

    def take_snapshot(self) -> Snapshot | None:
        """The present state; None if there is nothing new to keep."""
        if self.session is None or not self._events_since:
            return None
        self._events_since = 0  # also if it is not kept then: the next is taken after as many events
        return Snapshot(
            stream_sequence=self.stream_sequence, session=self.session, digests=dict(self._digests)
        )

    async def keep(self, snapshot: Snapshot) -> None:
        """Store a snapshot; a competitor's newer one is left alone. Raises as `Snapshots.write`."""
        if self.session is None:
            return  # it was erased meanwhile
        self._snapshot_revision = await self._snapshots.write(
            self.session_id, snapshot, self._snapshot_revision
        )


def _is_mark(record: EventRecord) -> bool:
    return isinstance(record.kind, Custom) and record.kind.event_type == LogCopied.event_type
