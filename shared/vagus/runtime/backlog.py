"""Backlog: what waits in the queues, how much and for how long.

Counted by subject, in the streams themselves: consumers live in the server's memory and may be missing for a
moment after it restarts.
"""

from collections import Counter
from collections.abc import Mapping
from typing import Final

import msgspec

from vagus.contract.clock import parse
from vagus.contract.messages import Role
from vagus.contract.status import Queue, Replica
from vagus.contract.subjects import Subjects
from vagus.runtime.bus import ApiError, Bus
from vagus.runtime.listing import listed

STREAMS: Final = ("INBOX", "GATE", "TOOLS", "APPROVALS", "SCHEDULES", "DEAD")
"""In the order in which their queues are told of."""
_ALWAYS: Final = {
    "INBOX": ("commands", "answers"),
    "GATE": ("gate",),
    "APPROVALS": ("tickets", "people"),
    "DEAD": ("dead",),
}
"""Queues that are told of when they are empty as well."""
_NO_MESSAGE: Final = 10037
_SECOND_NS: Final = 1e9


class Waiting(msgspec.Struct, frozen=True, kw_only=True):
    """A message that waits."""

    subject: str
    age_s: float


class Backlog(msgspec.Struct, frozen=True, kw_only=True):
    """Of one stream."""

    queues: tuple[Queue, ...]
    oldest: Waiting | None
    leader: str
    replicas: tuple[Replica, ...]
    transform: str
    """Where the stream puts what is published, if it has a transform."""


async def read_backlog(bus: Bus, subjects: Subjects, name: str) -> Backlog:
    """What waits in the stream that is `name` in `STREAMS`.

    Raises:
        ApiError: There is no such stream.
        Unavailable, OutcomeUnknown: The server does not answer.
    """
    stream = subjects.named(name)
    info = await _info(bus, stream)
    consumers = await _consumers(bus, stream)
    now_ns = parse(info.ts)
    found: dict[str, Waiting] = {}
    for filter_, queue in _groups(subjects, info.state.subjects or {}).items():
        waiting = await _first(bus, stream, filter_, info.state.first_seq, now_ns)
        if waiting is not None and (queue not in found or waiting.age_s > found[queue].age_s):
            found[queue] = waiting
    counted: Counter[str] = Counter()
    for subject, messages in (info.state.subjects or {}).items():
        counted[_queue_of(subjects, subject)[0]] += messages
    queues: dict[str, Queue] = {
        queue: Queue(
            name=queue,
            messages=counted[queue],
            oldest_s=found[queue].age_s if queue in found else None,
        )
        for queue in (*_ALWAYS.get(name, ()), *sorted(counted))
    }
    for consumer in consumers:
        _add(queues, _queue_of(subjects, consumer.config.filter)[0], consumer)
    return Backlog(
        queues=tuple(queues.values()),
        oldest=max(found.values(), key=lambda waiting: waiting.age_s, default=None),
        leader=info.cluster.leader,
        replicas=info.cluster.replicas,
        transform=info.config.subject_transform.dest,
    )


def _groups(subjects: Subjects, counted: Mapping[str, int]) -> dict[str, str]:
    """The filters under which messages are, and the queue of each."""
    return {filter_: queue for queue, filter_ in (_queue_of(subjects, subject) for subject in counted)}


def _queue_of(subjects: Subjects, subject: str) -> tuple[str, str]:
    """The queue of a subject or filter, and a filter for all that is said there in the same role."""
    match subject.split(".")[1:]:
        case ["inbox", _, role, _]:
            return "commands" if role == Role.COMMAND else "answers", subjects.inbox_partition("*", role)
        case ["gate", *_]:
            return "gate", subjects.gate()
        case ["tool", pool, *_]:
            return f"tools.{pool}", subjects.tool(pool)
        case ["approval", *_]:
            return "tickets", subjects.approval()
        case ["answer", *_]:
            return "people", subjects.answer()
        case ["due", *_]:
            return "due", subjects.due()
        case ["schedule", *_]:
            return "schedules", subjects.schedule()
        case _:
            return "dead", subjects.dead()


def _add(queues: dict[str, Queue], name: str, consumer: "_Consumer") -> None:
    known = queues.get(name, Queue(name=name, messages=0))
    queues[name] = msgspec.structs.replace(
        known,
        in_hand=(known.in_hand or 0) + consumer.num_ack_pending,
        redelivered=(known.redelivered or 0) + consumer.num_redelivered,
    )


async def _first(bus: Bus, stream: str, filter_: str, sequence: int, now_ns: int) -> Waiting | None:
    """The oldest message of a filter; None if it has gone meanwhile."""
    try:
        answer = await bus.api(f"STREAM.MSG.GET.{stream}", {"seq": sequence, "next_by_subj": filter_})
    except ApiError as error:
        if error.err_code == _NO_MESSAGE:
            return None
        raise
    message = msgspec.convert(answer["message"], _Message)
    age_s = max(0.0, (now_ns - parse(message.time)) / _SECOND_NS)
    return Waiting(subject=message.subject, age_s=round(age_s, 3))


async def _info(bus: Bus, stream: str) -> "_Info":
    """A stream's description with the number of messages of each subject, a page of subjects at a time."""
    pages = await listed(
        lambda offset: bus.api(f"STREAM.INFO.{stream}", {"subjects_filter": ">", "offset": offset}),
        lambda answer: (msgspec.convert(answer, _Info),),
    )
    counted = {subject: count for page in pages for subject, count in (page.state.subjects or {}).items()}
    last = pages[-1]
    return msgspec.structs.replace(last, state=msgspec.structs.replace(last.state, subjects=counted))


async def _consumers(bus: Bus, stream: str) -> "list[_Consumer]":
    return await listed(
        lambda offset: bus.api(f"CONSUMER.LIST.{stream}", {"offset": offset}),
        lambda answer: msgspec.convert(answer, _ConsumerPage).consumers,
    )


class _State(msgspec.Struct):
    first_seq: int
    subjects: dict[str, int] | None = None


class _Transform(msgspec.Struct):
    dest: str = ""


class _Config(msgspec.Struct):
    subject_transform: _Transform = msgspec.field(default_factory=_Transform)


class _Cluster(msgspec.Struct):
    leader: str = ""
    replicas: tuple[Replica, ...] = ()


class _Info(msgspec.Struct):
    state: _State
    ts: str
    config: _Config
    cluster: _Cluster = msgspec.field(default_factory=_Cluster)


class _Message(msgspec.Struct):
    subject: str
    time: str


class _ConsumerConfig(msgspec.Struct):
    filter_subject: str = ""
    filter_subjects: tuple[str, ...] = ()

    @property
    def filter(self) -> str:
        """The first of its filters: all are of one queue."""
        return self.filter_subject or next(iter(self.filter_subjects), "")


class _Consumer(msgspec.Struct):
    config: _ConsumerConfig
    num_ack_pending: int = 0
    num_redelivered: int = 0


class _ConsumerPage(msgspec.Struct):
    consumers: list[_Consumer] = []
