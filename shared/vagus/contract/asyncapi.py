"""The AsyncAPI 3 document of the wire: subjects, streams, messages and headers, made from the contract."""

import re
from typing import Final, TypeAlias

import msgspec

from vagus.contract import schemas, streams
from vagus.contract.commands import BODY
from vagus.contract.json import Json
from vagus.contract.messages import ANSWER_TO, Role
from vagus.contract.schedules import (
    FIRED_HEADER,
    NEXT_HEADER,
    PATTERN_HEADER,
    SCHEDULER_HEADER,
    TARGET_HEADER,
)
from vagus.contract.schemas import Schema
from vagus.contract.subjects import Subjects
from vagus.contract.tools import Priority

VERSION: Final = "1.0.0"
"""Of the wire; docs/wire.md, "What may change", says what raises which number."""

_SCHEMAS: Final = "#/components/schemas/"
_ANY: Final = "{session}"
_BRANCH: Final = "{branch}"

_PARAMETERS: Final[dict[str, Schema]] = {
    "session": {"description": "Id of the session: 1 to 64 of A-Z a-z 0-9 _ -."},
    "copy": {"description": "Name of a copy of a session's log."},
    "part": {"description": "Which part of it, counted from 0."},
    "branch": {"description": "Id of the branch; every session has main.", "default": "main"},
    "kind": {"description": "Type of the event, such as ToolCallCompleted."},
    "pool": {"description": "Pool of runners.", "default": "default"},
    "priority": {"description": "Which call comes first.", "enum": [str(one) for one in Priority]},
    "run": {"description": "Id of the tool run."},
    "process": {"description": "Kind of process: kernel, policygate, runner, approver."},
    "instance": {"description": "Which of them."},
    "schedule": {"description": "Id of the schedule."},
    "ticket": {"description": "Id of the ticket."},
    "tool": {"description": "Name of the tool."},
}

_Headers: TypeAlias = dict[str, Schema]

_TEXT: Final[Schema] = {"type": "string"}
_NUMBER: Final[Schema] = {"type": "string", "pattern": "^[0-9]+$"}
_TRACE: Final[_Headers] = {"traceparent": {"type": "string", "description": "W3C trace context."}}
_ID: Final[_Headers] = {
    "Nats-Msg-Id": {"type": "string", "description": "The server stores it once within 120 s."}
}
_COMMIT: Final[_Headers] = _TRACE | {
    "Nats-Msg-Id": {"type": "string", "description": "Id of the last event."},
    "Vagus-First": _NUMBER,
    "Vagus-Last": _NUMBER,
    "Vagus-Kinds": {"type": "string", "description": "Types of all events, comma-separated."},
}
_TOLD: Final[_Headers] = {
    "Vagus-Sequence": _NUMBER | {"description": "Of the event, on its branch."},
    "Vagus-Commit": _NUMBER | {"description": "The place of its commit in the session's log."},
}
_REPUBLISHED: Final[_Headers] = {
    "Nats-Stream": _TEXT,
    "Nats-Subject": _TEXT,
    "Nats-Sequence": _NUMBER,
    "Nats-Last-Sequence": {"type": "string", "description": "Of the message before on this subject."},
    "Nats-Time-Stamp": _TEXT,
}
_DEAD: Final[_Headers] = {
    "Vagus-Reason": _TEXT,
    "Vagus-Subject": _TEXT,
    "Vagus-Deliveries": _NUMBER,
    "Vagus-Sequence": {"type": "string", "description": "Stream and sequence of the original."},
    "Vagus-Size": _NUMBER,
    "Vagus-Left-Out": _NUMBER,
}


class _Message(msgspec.Struct, frozen=True, kw_only=True):
    name: str
    payload: str | None
    """Name of its schema; None: anything."""
    content: str = "application/json"
    headers: _Headers = {}
    required: tuple[str, ...] = ()


class _Channel(msgspec.Struct, frozen=True, kw_only=True):
    name: str
    address: str | None
    what: str
    messages: tuple[_Message, ...]
    senders: tuple[str, ...]
    receivers: tuple[str, ...]
    stream: str | None = None
    reply: str | None = None
    """The channel of its answers."""


def document(subjects: Subjects) -> Schema:
    """The whole document, as plain Python."""
    channels = _channels(subjects)
    return {
        "asyncapi": "3.0.0",
        "info": {
            "title": "Vagus",
            "version": VERSION,
            "description": (
                "Agents as processes that talk over NATS JetStream. docs/wire.md says more, in words. "
                "Receivers pass over fields and keep kinds of events that they do not know."
            ),
            "license": {"name": "MIT"},
        },
        "defaultContentType": "application/json",
        "servers": {"nats": {"host": "localhost:4222", "protocol": "nats", "description": "With JetStream."}},
        "channels": {one.name: _channel(one) for one in channels},
        "operations": {name: operation for one in channels for name, operation in _operations(one).items()},
        "components": {
            "messages": {message.name: _message(message) for one in channels for message in one.messages},
            "schemas": schemas.definitions(_SCHEMAS),
        },
        "x-streams": [
            _plain(spec)
            for spec in (
                streams.session_log(subjects, _ANY),
                *streams.queues(subjects),
                streams.archive(subjects),
                streams.events(subjects),
            )
        ],
        "x-buckets": [
            *(_plain(spec) for spec in streams.buckets(subjects)),
            _plain(streams.relayed(subjects)),
            {"name": subjects.named(streams.BLOBS), "object_store": True},
        ],
    }


def _channels(subjects: Subjects) -> tuple[_Channel, ...]:
    return (*_inputs(subjects), *_logs(subjects), *_queues(subjects), *_others(subjects), *_buckets(subjects))


def _inputs(subjects: Subjects) -> tuple[_Channel, ...]:
    """What is said to a session."""
    inbox = subjects.named("INBOX")

    def channel(role: Role, what: str, sender: str, *messages: _Message) -> _Channel:
        return _Channel(
            name=role,
            address=subjects.inbox(role, _ANY),
            what=what,
            messages=messages,
            senders=(sender,),
            receivers=("kernel",),
            stream=inbox,
            reply="reply" if role is Role.COMMAND else None,
        )

    fired: _Headers = {
        FIRED_HEADER: {"type": "string", "description": "The schedule that a tick comes from."}
    }
    asked = [
        _Message(name=name, payload=name, headers=_ID | _TRACE | fired, required=("Nats-Msg-Id",))
        for name in BODY
    ]
    return (
        channel(Role.COMMAND, "What clients ask of a session.", "client", *asked),
        channel(Role.VERDICT, "May a call run?", "policygate", _sent("Verdict")),
        channel(
            Role.REPORT,
            "What became of a call.",
            "toolrunner",
            _Message(name="Report", payload="Report", headers=_ID | _TRACE),
        ),
        channel(Role.RESOLUTION, "How a ticket ended.", "approver", _sent("Resolution")),
        _Channel(
            name="reply",
            address=None,
            what="The inbox that a message named in reply_to; stored nowhere.",
            messages=(_Message(name="Reply", payload="Reply"),),
            senders=("kernel", "approver"),
            receivers=("client",),
        ),
    )


def _logs(subjects: Subjects) -> tuple[_Channel, ...]:
    """What has happened."""
    commit = _Message(
        name="Commit",
        payload="EventRecord",
        content="application/x-ndjson",
        headers=_COMMIT,
        required=("Nats-Msg-Id", "Vagus-First", "Vagus-Last", "Vagus-Kinds"),
    )
    live = msgspec.structs.replace(commit, name="StoredCommit", headers=_COMMIT | _REPUBLISHED)
    event = _Message(
        name="Event",
        payload="EventRecord",
        headers=_ID | _TRACE | _TOLD,
        required=("Nats-Msg-Id", "Vagus-Sequence", "Vagus-Commit"),
    )
    return (
        _Channel(
            name="log",
            address=subjects.log(_ANY, _BRANCH),
            messages=(commit,),
            senders=("kernel",),
            receivers=(),
            what="The log of a session: one message a commit, one event a line.",
            stream=subjects.session_stream(_ANY),
        ),
        _Channel(
            name="feed",
            address=subjects.feed(_ANY, _BRANCH),
            messages=(live,),
            senders=("server",),
            receivers=("client",),
            what="Stored commits, republished by the server; not stored again.",
        ),
        _Channel(
            name="event",
            address=subjects.event(_ANY, _BRANCH, "{kind}"),
            messages=(event,),
            senders=("relay",),
            receivers=("client",),
            what="One event a message, over all sessions.",
            stream=subjects.named("EVENTS"),
        ),
        _Channel(
            name="archive",
            address=subjects.archive(_ANY, "{copy}", "{part}"),
            messages=(
                _Message(name="ArchivedPart", payload="ArchivedPart", content="application/json+zlib"),
            ),
            senders=("kernel",),
            receivers=("client",),
            what="An archived log: JSON, compressed by zlib.",
            stream=subjects.named("ARCHIVE"),
        ),
    )


def _queues(subjects: Subjects) -> tuple[_Channel, ...]:
    """What one process has another do."""
    asked = _ID | _TRACE | {ANSWER_TO: _TEXT | {"description": "The kernel that is to be told straight."}}
    timed = {PATTERN_HEADER: _TEXT, TARGET_HEADER: _TEXT}
    due = {SCHEDULER_HEADER: _TEXT, NEXT_HEADER: _TEXT}
    schedules = subjects.named("SCHEDULES")
    return (
        _Channel(
            name="gate",
            address=subjects.gate(_ANY),
            what="May this call run?",
            messages=(
                _Message(name="GateRequest", payload="GateRequest", headers=asked, required=("Nats-Msg-Id",)),
            ),
            senders=("kernel",),
            receivers=("policygate",),
            stream=subjects.named("GATE"),
        ),
        _Channel(
            name="tool",
            address=subjects.tool("{pool}", "{priority}", _ANY),
            what="Run this call.",
            messages=(
                _Message(name="ToolRequest", payload="ToolRequest", headers=asked, required=("Nats-Msg-Id",)),
            ),
            senders=("kernel",),
            receivers=("toolrunner",),
            stream=subjects.named("TOOLS"),
        ),
        _Channel(
            name="approval",
            address=subjects.approval(_ANY),
            what="Ask people.",
            messages=(_sent("ApprovalTicket"),),
            senders=("kernel",),
            receivers=("approver",),
            stream=subjects.named("APPROVALS"),
        ),
        _Channel(
            name="answer",
            address=subjects.answer(_ANY),
            what="What people say to a ticket.",
            messages=(_sent("Answer"),),
            senders=("client",),
            receivers=("approver",),
            stream=subjects.named("APPROVALS"),
            reply="reply",
        ),
        _Channel(
            name="schedule",
            address=subjects.schedule(_ANY, "{schedule}"),
            what="A tick for later.",
            messages=(_Message(name="ScheduledTick", payload="Tick", headers=timed, required=tuple(timed)),),
            senders=("kernel",),
            receivers=(),
            stream=schedules,
        ),
        _Channel(
            name="due",
            address=subjects.due(_ANY, "{schedule}"),
            what="A tick whose time has come.",
            messages=(_Message(name="DueTick", payload="Tick", headers=due, required=tuple(due)),),
            senders=("server",),
            receivers=("kernel",),
            stream=schedules,
        ),
    )


def _others(subjects: Subjects) -> tuple[_Channel, ...]:
    """What is told by the way, and what nobody could handle."""
    empty = _Message(name="Empty", payload=None, content="application/octet-stream")
    return (
        _Channel(
            name="told",
            address=subjects.verdict("{instance}", _ANY),
            what="May a call run? Told to the kernel that waits; stored nowhere.",
            messages=(
                _Message(
                    name="VerdictTold", payload="Verdict", headers=_ID | _TRACE, required=("Nats-Msg-Id",)
                ),
            ),
            senders=("policygate",),
            receivers=("kernel",),
        ),
        _Channel(
            name="handed",
            address=subjects.report("{instance}", _ANY),
            what="What became of a call. Handed over to the kernel that waits; stored nowhere.",
            messages=(_Message(name="ReportHanded", payload="Report", headers=_TRACE),),
            senders=("toolrunner",),
            receivers=("kernel",),
            reply="receipt",
        ),
        _Channel(
            name="receipt",
            address=None,
            what="The reply subject of a report that was handed over; stored nowhere.",
            messages=(_Message(name="Receipt", payload="Receipt"),),
            senders=("kernel",),
            receivers=("toolrunner",),
        ),
        _Channel(
            name="cancel",
            address=subjects.cancel("{run}"),
            what="Stop this run.",
            messages=(empty,),
            senders=("kernel",),
            receivers=("toolrunner",),
        ),
        _Channel(
            name="drain",
            address=subjects.drain("{process}", "{instance}"),
            what="Finish your work and end.",
            messages=(empty,),
            senders=("client",),
            receivers=("kernel", "policygate", "toolrunner", "approver"),
        ),
        _Channel(
            name="live",
            address=subjects.live(_ANY, _BRANCH),
            what="What a running tool shows; stored nowhere.",
            messages=(_Message(name="ToolProgress", payload="ToolProgress"),),
            senders=("toolrunner",),
            receivers=("client",),
        ),
        _Channel(
            name="dead",
            address=subjects.dead("{process}." + _ANY),
            what="What no process could handle, as it was.",
            messages=(
                _Message(
                    name="DeadLetter",
                    payload=None,
                    content="application/octet-stream",
                    headers=_ID | _DEAD,
                    required=("Vagus-Reason", "Vagus-Subject"),
                ),
            ),
            senders=("kernel", "policygate", "toolrunner", "approver"),
            receivers=("client",),
            stream=subjects.named("DEAD"),
        ),
    )


def _buckets(subjects: Subjects) -> tuple[_Channel, ...]:
    """What others may read in the buckets."""

    def channel(bucket: str, key: str, payload: str, what: str, *writers: str) -> _Channel:
        value = _Message(name=f"{payload}Value", payload=payload)
        return _Channel(
            name=bucket.lower(),
            address=subjects.writes(bucket).removesuffix(">") + key,
            what=what,
            messages=(value,),
            senders=writers,
            receivers=("client",),
            stream=f"KV_{subjects.named(bucket)}",
        )

    return (
        channel(streams.SESSIONS, _ANY, "SessionSummary", "The registry of sessions.", "kernel"),
        channel(
            streams.POLICIES, _ANY, "PolicyInForce", "The policy that gates hold a session to.", "kernel"
        ),
        channel(
            streams.TICKETS, _ANY + ".{ticket}", "ApprovalTicket", "Tickets and how they ended.", "approver"
        ),
        channel(streams.ERASED, _ANY, "Erasure", "Sessions that were erased.", "operator", "kernel"),
        channel(streams.TOOLBOX, "{pool}.{tool}", "ToolboxEntry", "Tools that runners have.", "toolrunner"),
        channel(streams.ARCHIVED, _ANY, "Placement", "Where logs are that were ever archived.", "kernel"),
        channel(streams.CALLS, _ANY + ".{run}", "Claim", "Who runs a call.", "toolrunner", "kernel"),
    )


def _sent(name: str) -> _Message:
    return _Message(name=name, payload=name, headers=_ID | _TRACE, required=("Nats-Msg-Id",))


def _message(message: _Message) -> Schema:
    made: Schema = {"name": message.name, "contentType": message.content}
    made["payload"] = {} if message.payload is None else {"$ref": _SCHEMAS + message.payload}
    if message.headers:
        made["headers"] = {
            "type": "object",
            "properties": message.headers,
            "required": list(message.required),
        }
    return made


def _channel(channel: _Channel) -> Schema:
    made: Schema = {
        "address": channel.address,
        "description": channel.what,
        "messages": {one.name: {"$ref": f"#/components/messages/{one.name}"} for one in channel.messages},
    }
    if parameters := re.findall(r"{(\w+)}", channel.address or ""):
        made["parameters"] = {name: _PARAMETERS[name] for name in parameters}
    if channel.stream is not None:
        made["x-stream"] = channel.stream
    return made


def _operations(channel: _Channel) -> dict[str, Json]:
    """Of each process that takes part; by these ids one finds what to implement instead of it."""
    made: dict[str, Json] = {}
    for action, processes in (("send", channel.senders), ("receive", channel.receivers)):
        for process in processes:
            operation: Schema = {
                "action": action,
                "channel": {"$ref": f"#/channels/{channel.name}"},
                "tags": [{"name": process}],
            }
            if channel.reply is not None:
                operation["reply"] = _reply(channel.reply)
            made[f"{process}-{action}-{channel.name}"] = operation
    return made


def _reply(channel: str) -> Schema:
    """Where the answers come; to commands, in an inbox that they name, else in NATS' own reply subject."""
    made: Schema = {"channel": {"$ref": f"#/channels/{channel}"}}
    return {"address": {"location": "$message.payload#/reply_to"}} | made if channel == "reply" else made


def _plain(spec: streams.StreamSpec | streams.BucketSpec) -> Json:
    """What is set, without what is left at its default."""
    told: Schema = msgspec.to_builtins(spec)
    defaults = {field.encode_name: field.default for field in msgspec.structs.fields(spec)}
    return {name: value for name, value in told.items() if value != defaults[name] or name == "retention"}
