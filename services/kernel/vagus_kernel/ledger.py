"""A session's log as its owner holds it: the folded state, where the log stands, and the one way to write."""

from vagus.contract.codec import seal
from vagus.contract.errors import CheckpointNotFound, SessionNotFound
from vagus.contract.events import BranchCreated, CheckpointCreated, EventRecord
from vagus.contract.ids import MAIN
from vagus.runtime.eventlog import At, EventLog, NoStream
from vagus_kernel.evolve import evolve, inherited
from vagus_kernel.snapshots import Snapshot, Snapshots
from vagus_kernel.state import Memory, Session


class Ledger:
    """State and log of one session, in step."""

    def __init__(self, session_id: str, log: EventLog, snapshots: Snapshots) -> None:
        self.session_id = session_id
        self.session: Session | None = None
        """None: the session does not exist."""
        self.stream_sequence = 0
        self.replayed: tuple[EventRecord, ...] = ()
        """What was read from the log after the snapshot."""
        self._digests: dict[str, str] = {}
        self._log = log
        self._snapshots = snapshots
        self._snapshot_sequence = 0
        self._snapshot_revision = 0
        self._events_since = 0

    async def load(self) -> None:
        """Snapshot, and the commits after it."""
        kept = await self._snapshots.read(self.session_id)
        if kept is not None:
            snapshot, self._snapshot_revision = kept
            self.session = snapshot.session
            self.stream_sequence = self._snapshot_sequence = snapshot.stream_sequence
            self._digests = dict(snapshot.digests)
        replayed: list[EventRecord] = []
        try:
            async for commit in self._log.commits(self.session_id, after=self.stream_sequence):
                for record in commit.records():
                    self._fold(record)
                    replayed.append(record)
                self.stream_sequence = commit.stream_sequence
        except SessionNotFound:
            return
        self.replayed = tuple(replayed)
        self._events_since = len(replayed)

    @property
    def snapshot_id(self) -> str | None:
        """What the state was loaded from, if from a snapshot."""
        return f"{self.session_id}@{self._snapshot_sequence}" if self._snapshot_sequence else None

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
        branch_id = records[0].branch_id
        sealed = seal(records, await self._previous_digest(records[0]))
        expected = At(self.stream_sequence) if self.stream_sequence else NoStream()
        self.stream_sequence = await self._log.commit(
            self.session_id, branch_id, sealed, expected, traceparent=traceparent
        )
        self._digests[branch_id] = sealed.digest
        self.session = after
        self._events_since += len(records)
        return sealed.records

    async def _previous_digest(self, first: EventRecord) -> str:
        known = self._digests.get(first.branch_id)
        if known is not None:
            return known
        match first.kind:
            case BranchCreated(from_branch=parent, fork_point_seq=point) if point > 0:
                parent = parent or MAIN
                head = self.session.branches[parent].head_sequence if self.session else 0
                if point == head:
                    return self._digests[parent]
                found = await self._log.read(self.session_id, parent, from_sequence=point, limit=1)
                return found[0].digest or ""
        return ""

    def _fold(self, record: EventRecord) -> None:
        self.session = evolve(self.session, record)
        self._digests[record.branch_id] = record.digest or ""

    # The past ---------------------------------------------------------------------------------------------

    async def memory_at(self, branch_id: str, sequence: int) -> Memory:
        """What a fork of the branch at this sequence inherits."""
        session: Session | None = None
        async for commit in self._log.commits(self.session_id):
            for record in commit.records():
                session = evolve(session, record)
                if record.branch_id == branch_id and record.sequence == sequence:
                    return inherited(session.branches[branch_id])
        return Memory()

    async def memory_of(self, branch_id: str, checkpoint_id: str) -> tuple[int, Memory]:
        """The sequence and the branch's mind of a checkpoint; `CheckpointNotFound` if there is none such."""
        session: Session | None = None
        async for commit in self._log.commits(self.session_id):
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

    async def snapshot(self) -> None:
        """Keep the present state; a competitor's newer one is left alone."""
        if self.session is None or not self._events_since:
            return
        snapshot = Snapshot(
            stream_sequence=self.stream_sequence, session=self.session, digests=dict(self._digests)
        )
        self._snapshot_revision = await self._snapshots.write(
            self.session_id, snapshot, self._snapshot_revision
        )
        self._events_since = 0
