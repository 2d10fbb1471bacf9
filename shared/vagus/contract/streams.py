"""Every stream, consumer and bucket as data: what is asked of the server, with its reasons.

`runtime.provision` applies it. Durations are in seconds here; the adapter turns them into the server's units.
"""

from enum import StrEnum

import msgspec

from vagus.contract import limits
from vagus.contract.messages import Role
from vagus.contract.subjects import Subjects
from vagus.contract.tools import Priority


class Retention(StrEnum):
    """When the server drops a message."""

    LIMITS = "limits"
    WORK_QUEUE = "workqueue"


class StreamSpec(msgspec.Struct, frozen=True, kw_only=True):
    """A stream as we want it."""

    name: str
    subjects: tuple[str, ...]
    former_subjects: tuple[str, ...] = ()
    """With which an earlier version made it; exchanged for `subjects` where it stands so.

    They hold all of `subjects`: of two updates at once that add one, nats-server 2.15 carries out both, and
    then stores every message on it twice.
    """
    retention: Retention = Retention.WORK_QUEUE
    max_age_s: float = 0
    """0: no limit."""
    max_bytes: int = -1
    max_msgs: int = -1
    max_msgs_per_subject: int = -1
    refuse_when_full: bool = True
    """A full stream refuses new messages instead of dropping old ones."""
    duplicate_window_s: float = limits.DUPLICATE_WINDOW_S
    deny_delete: bool = False
    deny_purge: bool = False
    allow_direct: bool = False
    allow_atomic: bool = False
    allow_schedules: bool = False
    republish: tuple[str, str] | None = None
    transform: tuple[str, str] | None = None
    rederivable: bool = False
    """The log can make these messages again, so that the server may acknowledge before the disk has them."""


class ConsumerSpec(msgspec.Struct, frozen=True, kw_only=True):
    """A durable pull consumer as we want it; explicit acks, unlimited deliveries (we count them).

    Its state is kept in the server's memory: on disk, its file would be written and synced for every few
    acks, which costs more than the messages themselves. What a work queue still holds is delivered anew
    when the server has forgotten who had it.
    """

    stream: str
    name: str
    filters: tuple[str, ...]
    ack_wait_s: float = limits.ACK_WAIT_S
    max_ack_pending: int = 65_536
    """Far above what anybody holds: the default of 1 000 lets one session's queue stop all others."""


class BucketSpec(msgspec.Struct, frozen=True, kw_only=True):
    """A key-value bucket as we want it."""

    name: str
    ttl_s: float = 0
    history: int = 1


def session_log(subjects: Subjects, session: str, generation: int = 0) -> StreamSpec:
    """The log of one session.

    One that was restored goes on naming the commits of that time rightly: a replica that is behind names them
    when it takes them, by the configuration of then.
    """
    return StreamSpec(
        name=subjects.session_stream(session, generation),
        subjects=(subjects.log(session),),
        transform=(subjects.restore(session, generation), subjects.restored(session)) if generation else None,
        retention=Retention.LIMITS,
        deny_delete=True,
        deny_purge=True,
        allow_direct=True,
        allow_atomic=True,
        republish=(subjects.all_logs(), subjects.all_feeds()),
    )


def events(subjects: Subjects, *, max_age_s: float = limits.EVENTS_AGE_S, max_bytes: int = -1) -> StreamSpec:
    """The firehose: the events of all sessions, one a message, the oldest dropped first.

    Relays make and fill it; where none runs it does not exist.
    """
    return StreamSpec(
        name=subjects.named("EVENTS"),
        subjects=(subjects.event(),),
        retention=Retention.LIMITS,
        max_age_s=max_age_s,
        max_bytes=max_bytes,
        refuse_when_full=False,
        allow_direct=True,
        allow_atomic=True,
    )


def restoring_log(subjects: Subjects, session: str, generation: int) -> StreamSpec:
    """A log that is being restored: nobody can write to it as the session's, and nothing is republished."""
    return msgspec.structs.replace(
        session_log(subjects, session, generation),
        subjects=(subjects.restore(session, generation),),
        republish=None,
    )


def archive(subjects: Subjects) -> StreamSpec:
    """Archived logs, as parts."""
    return StreamSpec(
        name=subjects.named("ARCHIVE"),
        subjects=(subjects.archive(),),
        retention=Retention.LIMITS,
        allow_direct=True,
    )


def queues(
    subjects: Subjects, partitions: int = limits.INBOX_PARTITIONS, inbox_max_msgs: int = 1_000_000
) -> tuple[StreamSpec, ...]:
    """The work queues and the dead letters."""
    return (
        StreamSpec(
            name=subjects.named("INBOX"),
            subjects=(subjects.all_inbox(),),
            former_subjects=(subjects.all_inbox(), subjects.schedule()),  # before 0.2
            transform=(subjects.all_inbox(), subjects.inbox_transform(partitions)),
            max_msgs=inbox_max_msgs,
        ),
        StreamSpec(
            name=subjects.named("SCHEDULES"),
            subjects=(subjects.schedule(), subjects.due()),
            allow_schedules=True,
            allow_direct=True,
            refuse_when_full=False,  # the server wants it so; what bounds the stream is the limit a session
            max_msgs_per_subject=1,  # firings that nobody takes do not pile up: the last one stands for all
        ),
        StreamSpec(
            name=subjects.named("GATE"), subjects=(subjects.gate(),), rederivable=True, max_msgs=1_000_000
        ),
        StreamSpec(
            name=subjects.named("TOOLS"), subjects=(subjects.tool(),), rederivable=True, max_msgs=1_000_000
        ),
        StreamSpec(
            name=subjects.named("APPROVALS"),
            subjects=(subjects.approval(), subjects.answer()),
            max_msgs=1_000_000,
        ),
        StreamSpec(
            name=subjects.named("DEAD"),
            subjects=(subjects.dead(),),
            retention=Retention.LIMITS,
            max_age_s=limits.DEAD_LETTER_AGE_S,
            refuse_when_full=False,
        ),
    )


def inbox_consumers(subjects: Subjects, partitions: int) -> tuple[ConsumerSpec, ...]:
    """Two consumers a partition, so that queued ticks never block the answers they wait for."""
    return tuple(
        inbox_consumer(subjects, partition, answers=answers)
        for partition in range(partitions)
        for answers in (False, True)
    )


def inbox_consumer(subjects: Subjects, partition: int, *, answers: bool) -> ConsumerSpec:
    """Of a partition's commands, or of the answers that its sessions wait for."""
    roles = (Role.VERDICT, Role.REPORT, Role.RESOLUTION) if answers else (Role.COMMAND,)
    return ConsumerSpec(
        stream=subjects.named("INBOX"),
        name=f"{'answers' if answers else 'commands'}-{partition}",
        filters=tuple(subjects.inbox_partition(partition, role) for role in roles),
    )


def gate_consumer(subjects: Subjects) -> ConsumerSpec:
    """Shared by all policy gates."""
    return ConsumerSpec(stream=subjects.named("GATE"), name="gate", filters=(subjects.gate(),))


def tool_consumers(subjects: Subjects, pool: str) -> tuple[ConsumerSpec, ...]:
    """One a priority, the most urgent first; shared by all runners of a pool."""
    return tuple(
        ConsumerSpec(
            stream=subjects.named("TOOLS"),
            name=f"pool-{pool}-{priority}",
            filters=(subjects.tool(pool, priority),),
        )
        for priority in Priority
    )


def former_tool_consumer(subjects: Subjects, pool: str) -> ConsumerSpec:
    """The one that all priorities of a pool shared before 0.2: in its presence the others cannot be made."""
    return ConsumerSpec(stream=subjects.named("TOOLS"), name=f"pool-{pool}", filters=(subjects.tool(pool),))


def approval_consumer(subjects: Subjects) -> ConsumerSpec:
    """Tickets, shared by all approvers."""
    return ConsumerSpec(stream=subjects.named("APPROVALS"), name="tickets", filters=(subjects.approval(),))


def answer_consumer(subjects: Subjects) -> ConsumerSpec:
    """People's answers, shared by all approvers."""
    return ConsumerSpec(stream=subjects.named("APPROVALS"), name="answers", filters=(subjects.answer(),))


def due_consumer(subjects: Subjects) -> ConsumerSpec:
    """Ticks whose time has come, shared by all kernels."""
    return ConsumerSpec(stream=subjects.named("SCHEDULES"), name="due", filters=(subjects.due(),))


QUEUES = ("INBOX", "GATE", "TOOLS", "APPROVALS", "DEAD")
"""Streams in which something waits for somebody."""

SESSIONS = "SESSIONS"
POLICIES = "POLICIES"
TICKETS = "TICKETS"
TOOLBOX = "TOOLBOX"
CALLS = "CALLS"
MEMBERS = "MEMBERS"
RETURNS = "RETURNS"
SNAPSHOTS = "SNAPSHOTS"
ERASED = "ERASED"
SUBSCRIPTIONS = "SUBSCRIPTIONS"
ARCHIVED = "ARCHIVED"
BLOBS = "BLOBS"
RELAYED = "RELAYED"
"""How far relays have come with each session; made by them, as the firehose."""


def returns_of(queue: str) -> str:
    """The bucket in which is noted what was given back to a queue; both have the same root."""
    return f"{queue.rpartition('_')[0]}_{RETURNS}"


def relayed(subjects: Subjects) -> BucketSpec:
    """The bucket in which relays note how far they have come."""
    return BucketSpec(name=subjects.named(RELAYED))


def buckets(subjects: Subjects) -> tuple[BucketSpec, ...]:
    """All key-value buckets, in the order in which they are made."""
    return (
        BucketSpec(name=subjects.named(SESSIONS)),
        BucketSpec(name=subjects.named(POLICIES)),
        BucketSpec(name=subjects.named(TICKETS)),
        BucketSpec(name=subjects.named(TOOLBOX)),
        BucketSpec(name=subjects.named(CALLS), ttl_s=7 * 24 * 3600.0),
        BucketSpec(name=subjects.named(RETURNS), ttl_s=7 * 24 * 3600.0),
        BucketSpec(name=subjects.named(SNAPSHOTS)),
        BucketSpec(name=subjects.named(ERASED)),
        BucketSpec(name=subjects.named(ARCHIVED)),
        BucketSpec(name=subjects.named(SUBSCRIPTIONS)),
        BucketSpec(name=subjects.named(MEMBERS), ttl_s=limits.MEMBER_LEASE_S),
    )
