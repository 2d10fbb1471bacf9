"""A firehose that a test fills, as relays would."""

from collections import Counter
from datetime import UTC, datetime

from vagus.contract import limits, streams
from vagus.contract.clock import format_ns
from vagus.contract.codec import encode_record
from vagus.contract.events import EventKind, EventRecord, UserMessage
from vagus.contract.streams import BucketSpec
from vagus.contract.subjects import Subjects
from vagus.runtime.bucket import Bucket
from vagus.runtime.bus import Bus
from vagus.runtime.provision import ensure_bucket, ensure_stream


class Firehose:
    """Events of made-up sessions."""

    def __init__(self, bus: Bus, subjects: Subjects) -> None:
        self._bus = bus
        self._subjects = subjects
        self._heads: Counter[tuple[str, str]] = Counter()

    async def make(self) -> None:
        """Make the stream, the dead letters, and the buckets that subscribers need."""
        await ensure_stream(self._bus, streams.events(self._subjects))
        (dead,) = (
            spec for spec in streams.queues(self._subjects) if spec.name == self._subjects.named("DEAD")
        )
        await ensure_stream(self._bus, dead)
        for name, ttl_s in (
            (streams.MEMBERS, limits.MEMBER_LEASE_S),
            (streams.SESSIONS, 0.0),
            (streams.SUBSCRIPTIONS, 0.0),
        ):
            await ensure_bucket(self._bus, BucketSpec(name=self._subjects.named(name), ttl_s=ttl_s))

    async def put(self, session: str, kind: EventKind | None = None, branch: str = "main") -> EventRecord:
        """Store the next event of a branch."""
        self._heads[session, branch] += 1
        sequence = self._heads[session, branch]
        record = EventRecord(
            event_id=f"{session}-{branch}-{sequence}",
            session_id=session,
            branch_id=branch,
            sequence=sequence,
            timestamp=format_ns(int(datetime.now(UTC).timestamp() * 1e9)),
            kind=kind or UserMessage(content=f"{sequence}"),
        )
        await self._bus.store(
            self._subjects.event(session, branch, record.kind.type),
            encode_record(record),
            msg_id=record.event_id,
            headers={"Vagus-Sequence": str(sequence)},
        )
        return record

    async def own(self, session: str, owner: str) -> None:
        """Say in the registry whose a session is."""
        bucket = Bucket(self._bus, self._subjects.named(streams.SESSIONS))
        await bucket.put(session, b'{"manifest":{"owner":"%b"}}' % owner.encode())
