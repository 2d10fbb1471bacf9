"""Who may say what: the permissions of each kind of process in NATS, one user a kind.

A kernel takes the kind of an input from the role in its subject. That a client cannot forge a verdict, nor a
runner an approval, is therefore the server's to enforce, by these. Everything that is not named is forbidden.
`vagus permissions` prints them as a server reads them.
"""

from enum import StrEnum
from typing import Final

import msgspec

from vagus.contract import streams
from vagus.contract.erasures import traces
from vagus.contract.messages import Role
from vagus.contract.subjects import Subjects


class User(StrEnum):
    """Who logs in."""

    KERNEL = "kernel"
    POLICYGATE = "policygate"
    TOOLRUNNER = "toolrunner"
    APPROVER = "approver"
    RELAY = "relay"
    SINK = "sink"
    """Carries events into other systems: reads the firehose, and writes its progress and dead letters."""
    CLIENT = "client"
    """Programs and people: SDK, CLI, consumers of events."""
    OPERATOR = "operator"
    """Makes the streams, drains processes, reads dead letters; may do everything."""


class Permissions(msgspec.Struct, frozen=True, kw_only=True):
    """Subjects that a user may publish and subscribe to, with wildcards."""

    publish: tuple[str, ...]
    subscribe: tuple[str, ...]


ASKING: Final = (User.CLIENT, User.OPERATOR)
"""Those who are replied to."""


def inbox_prefix(user: User) -> str:
    """What a user sets VAGUS_INBOX_PREFIX to: nobody else may read what it is told."""
    return f"_INBOX_{user}"


def permissions(subjects: Subjects) -> dict[User, Permissions]:
    """Of every user."""
    kinds = {
        User.KERNEL: _kernel(subjects),
        User.POLICYGATE: _gate(subjects),
        User.TOOLRUNNER: _runner(subjects),
        User.APPROVER: _approver(subjects),
        User.RELAY: _relay(subjects),
        User.SINK: _sink(subjects),
        User.CLIENT: _client(subjects),
    }
    found = {
        user: Permissions(
            publish=tuple(dict.fromkeys((*publish, f"{inbox_prefix(user)}.>"))),  # a nudge to oneself
            subscribe=tuple(dict.fromkeys((f"{inbox_prefix(user)}.>", *subscribe))),
        )
        for user, (publish, subscribe) in kinds.items()
    }
    found[User.OPERATOR] = Permissions(publish=(">",), subscribe=(">",))
    return found


LOG: Final = "*"
"""The stream of any session. Permissions are by whole token, so that this is any other stream, too: what a
client may ask for there it may therefore ask for only with a filter that the server sees."""

_Pair = tuple[tuple[str, ...], tuple[str, ...]]
"""What is published, and what is subscribed to."""


def _kernel(subjects: Subjects) -> _Pair:
    schedules = subjects.named("SCHEDULES")
    publish = (
        # the logs, and streams for them; archives
        subjects.all_logs(),
        *_stream(LOG, "CREATE", "INFO", "MSG.GET", "UPDATE", "DELETE"),
        *_direct(LOG),
        subjects.restore("*", "*"),
        subjects.archive(),
        *_stream(subjects.named("ARCHIVE"), "MSG.GET", "PURGE"),
        *_direct(subjects.named("ARCHIVE")),
        # inputs, and ticks that have come due
        *_pull(subjects.named("INBOX")),
        subjects.inbox(Role.COMMAND, "*"),
        subjects.schedule(),
        *_pull(schedules),
        *_stream(schedules, "INFO", "MSG.DELETE"),
        *_direct(schedules),
        # effects
        subjects.gate(),
        subjects.tool(),
        subjects.approval(),
        subjects.live("*", "*"),
        subjects.cancel(),
        *(f"{inbox_prefix(user)}.>" for user in (*ASKING, User.TOOLRUNNER)),
        # buckets
        *(_writes(subjects, name) for name in (streams.SESSIONS, streams.POLICIES, streams.SNAPSHOTS)),
        *(_writes(subjects, name) for name in (streams.CALLS, streams.ARCHIVED, streams.ERASED)),
        *_reads(subjects, streams.SESSIONS, streams.POLICIES, streams.SNAPSHOTS, streams.CALLS),
        *_reads(subjects, streams.TOOLBOX, streams.TICKETS, streams.ARCHIVED),
        *_blobs(subjects, write=True),
        *_erases(subjects),
        *_process(subjects, "kernel"),
    )
    return publish, (
        *_elected(subjects, "INBOX", "SCHEDULES"),
        subjects.drain("kernel", "*"),
        subjects.verdict(),
        subjects.report(),
        subjects.writes(streams.MEMBERS),
    )


def _erases(subjects: Subjects) -> tuple[str, ...]:
    """What else takes to leave nothing of a session."""
    removed = {(trace.stream, "MSG.DELETE" if trace.taken else "PURGE") for trace in traces(subjects, LOG)}
    return (
        "$JS.API.STREAM.NAMES",
        subjects.event(),
        *_stream(subjects.named("EVENTS"), "INFO", "PURGE", "MSG.GET", "MSG.DELETE"),
        *(one for stream, verb in sorted(removed) for one in _stream(stream, "INFO", verb)),
        *_reads(subjects, streams.ERASED),
    )


def _gate(subjects: Subjects) -> _Pair:
    publish = (
        *_pull(subjects.named("GATE"), subjects.gate()),
        subjects.gate(),
        subjects.inbox(Role.VERDICT, "*"),
        subjects.verdict(),
        *_reads(subjects, streams.POLICIES, streams.TOOLBOX, streams.TICKETS),
        *_process(subjects, "policygate"),
    )
    return publish, (
        *_elected(subjects, "GATE"),
        subjects.drain("policygate", "*"),
        subjects.writes(streams.POLICIES),
    )


def _runner(subjects: Subjects) -> _Pair:
    tools = subjects.named("TOOLS")
    publish = (
        *_pull(tools, subjects.tool()),
        f"$JS.API.CONSUMER.INFO.{tools}.*",
        f"$JS.API.CONSUMER.DELETE.{tools}.*",
        *_stream(tools, "MSG.GET"),
        subjects.inbox(Role.REPORT, "*"),
        subjects.report(),
        subjects.live("*", "*"),
        _writes(subjects, streams.TOOLBOX),
        _writes(subjects, streams.CALLS),
        *_reads(subjects, streams.TOOLBOX, streams.CALLS),
        *_blobs(subjects, write=True),
        *_process(subjects, "toolrunner"),
    )
    return publish, (*_elected(subjects, "TOOLS"), subjects.drain("runner", "*"), subjects.cancel())


def _approver(subjects: Subjects) -> _Pair:
    approvals = subjects.named("APPROVALS")
    publish = (
        *_pull(approvals, subjects.approval()),
        *_pull(approvals, subjects.answer()),
        subjects.approval(),
        subjects.answer(),
        subjects.inbox(Role.RESOLUTION, "*"),
        *(f"{inbox_prefix(user)}.>" for user in ASKING),
        _writes(subjects, streams.TICKETS),
        *_reads(subjects, streams.TICKETS),
        # what waits, for metrics
        *(request for name in streams.QUEUES for request in _stream(subjects.named(name), "INFO")),
        *_process(subjects, "approver"),
    )
    return publish, (*_elected(subjects, "APPROVALS"), subjects.drain("approver", "*"))


def _relay(subjects: Subjects) -> _Pair:
    events = subjects.named("EVENTS")
    publish = (
        subjects.event(),
        *_stream(events, "INFO", "MSG.GET"),
        *_direct(events),
        *_reading(events, subjects.event("*", "*", ">")),
        *_pull(events),
        f"$JS.API.CONSUMER.DELETE.{events}.*",
        "$JS.API.STREAM.LIST",
        *_stream(LOG, "INFO", "MSG.GET"),
        *_direct(LOG),
        *_reading(LOG, subjects.all_logs()),
        *_direct(subjects.named("ARCHIVE")),
        *_stream(subjects.named("ARCHIVE"), "MSG.GET"),
        _writes(subjects, streams.RELAYED),
        *_stream(f"KV_{subjects.named(streams.RELAYED)}", "PURGE"),
        _writes(subjects, streams.SUBSCRIPTIONS),
        *_reads(subjects, streams.RELAYED, streams.SUBSCRIPTIONS, streams.SESSIONS, streams.ARCHIVED),
        *_reads(subjects, streams.ERASED),
        *_blobs(subjects, write=False),
        *_subscriber(subjects),  # as which sinks ran before they had a user
        *_process(subjects, "relay"),
    )
    return publish, (
        *_elected(subjects, "EVENTS"),
        Subjects.stream_elected(),
        subjects.drain("relay", "*"),
        subjects.all_feeds(),
    )


def _sink(subjects: Subjects) -> _Pair:
    events = subjects.named("EVENTS")
    publish = (
        *_stream(events, "INFO"),
        f"$JS.API.CONSUMER.CREATE.{events}.>",  # several filters stand in the request alone
        f"$JS.API.CONSUMER.MSG.NEXT.{events}.*",
        f"$JS.API.CONSUMER.DELETE.{events}.*",
        _writes(subjects, streams.SUBSCRIPTIONS),
        *_reads(subjects, streams.SUBSCRIPTIONS, streams.SESSIONS, streams.MEMBERS),
        *_subscriber(subjects),
        f"{inbox_prefix(User.OPERATOR)}.>",  # the answer to a drain
    )
    return publish, (subjects.drain("sink", "*"),)


def _client(subjects: Subjects) -> _Pair:
    events = subjects.named("EVENTS")
    publish = (
        subjects.inbox(Role.COMMAND, "*"),
        subjects.answer(),
        "$JS.API.INFO",
        "$JS.API.STREAM.NAMES",
        # logs, through consumers whose filter the server sees
        *_stream(LOG, "INFO"),
        *_reading(LOG, subjects.all_logs()),
        *_stream(subjects.named("APPROVALS"), "INFO"),
        *_direct(subjects.named("ARCHIVE"), subjects.archive()),
        # the firehose, and subscriptions to it
        *_stream(events, "INFO"),
        *_reading(events, subjects.event("*", "*", ">")),
        *_pull(events),
        f"$JS.API.CONSUMER.DELETE.{events}.*",
        _writes(subjects, streams.SUBSCRIPTIONS),
        *_reads(subjects, streams.SUBSCRIPTIONS, streams.SESSIONS, streams.POLICIES, streams.TOOLBOX),
        *_reads(subjects, streams.TICKETS, streams.MEMBERS, streams.ARCHIVED, streams.ERASED),
        *_blobs(subjects, write=False),
        *_subscriber(subjects),
    )
    return publish, (subjects.all_feeds(), subjects.live("*", "*"), subjects.event("*", "*", ">"))


# Parts ----------------------------------------------------------------------------------------------------


def _subscriber(subjects: Subjects) -> tuple[str, ...]:
    """To take part in a durable subscription, and to give up its events."""
    return f"$KV.{subjects.named(streams.MEMBERS)}.subscriber.>", subjects.dead("subscription.*")


def _process(subjects: Subjects, kind: str) -> tuple[str, ...]:
    """What every process says: that it lives, what it gave back, what nobody can handle."""
    lease = "runner" if kind == "toolrunner" else kind
    return (
        f"$KV.{subjects.named(streams.MEMBERS)}.{lease}.>",
        *_reads(subjects, streams.MEMBERS, streams.RETURNS),
        _writes(subjects, streams.RETURNS),
        subjects.dead(kind),
        subjects.dead(f"{kind}.*"),
        *(f"{inbox_prefix(user)}.>" for user in ASKING),  # the answer to a drain
    )


def _stream(stream: str, *verbs: str) -> tuple[str, ...]:
    """Requests about a stream."""
    return tuple(f"$JS.API.STREAM.{verb}.{stream}" for verb in verbs)


def _direct(stream: str, subject: str = ">") -> tuple[str, ...]:
    """Reading a stream from any of its servers: by number (if all of it may be read) and by subject."""
    by_subject = f"$JS.API.DIRECT.GET.{stream}.{subject}"
    return (f"$JS.API.DIRECT.GET.{stream}", by_subject) if subject == ">" else (by_subject,)


def _pull(stream: str, filter_: str = "") -> tuple[str, ...]:
    """Taking from a work queue; making its consumers anew, with this filter if there is one."""
    target = f"{stream}.*.{filter_}" if filter_ else f"{stream}.>"
    return (
        f"$JS.API.CONSUMER.CREATE.{target}",
        f"$JS.API.CONSUMER.MSG.NEXT.{stream}.*",
        f"$JS.ACK.{stream}.>",
    )


def _reading(stream: str, filter_: str) -> tuple[str, ...]:
    """A consumer of one's own, whose filter is in the subject."""
    return f"$JS.API.CONSUMER.CREATE.{stream}.*.{filter_}", f"$JS.FC.{stream}.>"


def _elected(subjects: Subjects, *names: str) -> tuple[str, ...]:
    return tuple(Subjects.elected(subjects.named(name), "*") for name in names)


def _writes(subjects: Subjects, bucket: str) -> str:
    return subjects.writes(bucket)


def _reads(subjects: Subjects, *buckets: str) -> tuple[str, ...]:
    found: list[str] = []
    for bucket in buckets:
        stream, keys = f"KV_{subjects.named(bucket)}", subjects.writes(bucket)
        found += [*_stream(stream, "INFO", "MSG.GET"), *_direct(stream)]
        found += [f"$JS.API.CONSUMER.CREATE.{stream}.*.{keys}", f"$JS.FC.{stream}.>"]
    return tuple(found)


def _blobs(subjects: Subjects, *, write: bool) -> tuple[str, ...]:
    bucket = subjects.named(streams.BLOBS)
    stream = f"OBJ_{bucket}"
    reading = (*_stream(stream, "INFO", "MSG.GET"), *_direct(stream))
    return (*reading, f"$O.{bucket}.>", *_stream(stream, "PURGE")) if write else reading
