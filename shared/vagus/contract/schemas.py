"""JSON Schemas (draft 2020-12) of all that stands on the wire, made from the types that the code reads it by.

A schema says what this release writes, and passes what it reads: fields that it does not name are allowed
everywhere, and so is a kind of event that it does not know.
"""

from collections.abc import Iterator
from functools import cache
from typing import Final, TypeAlias, cast, get_args

import msgspec

from vagus.contract import replies
from vagus.contract.approvals import Answer, ApprovalTicket, Resolution
from vagus.contract.archives import ArchivedPart, Placement
from vagus.contract.blobs import BlobRef
from vagus.contract.claims import Claim
from vagus.contract.commands import Command, Reply
from vagus.contract.erasures import Erasure
from vagus.contract.errors import ErrorInfo, NotFound
from vagus.contract.events import BY_TYPE, EventRecord
from vagus.contract.extensions import KINDS
from vagus.contract.grants import Grant
from vagus.contract.json import Json
from vagus.contract.live import ToolProgress
from vagus.contract.messages import GateRequest, Receipt, Report, ToolRequest, Verdict
from vagus.contract.policy import PolicyInForce
from vagus.contract.schedules import Dropped, Scheduled, Schedules
from vagus.contract.sessions import (
    BranchInfo,
    BranchMergeResult,
    SessionManifest,
    SessionSummary,
    TickOutput,
)
from vagus.contract.state import BudgetState
from vagus.contract.subscriptions import Checkpoint, Revived, Subscribed
from vagus.contract.tools import ToolboxEntry

Schema: TypeAlias = dict[str, Json]
"""A JSON Schema as plain Python."""

DIALECT: Final = "https://json-schema.org/draft/2020-12/schema"
_URN: Final = "urn:vagus:schema:"
_LOCAL: Final = "#/$defs/"

KIND: Final = "EventKind"
"""The name under which all kinds of event stand, known or not."""
COMMAND: Final = "Command"

_MESSAGES: Final[tuple[type[msgspec.Struct], ...]] = (
    EventRecord, Reply, GateRequest, Verdict, ToolRequest, Report, Receipt, ApprovalTicket, Answer,
    Resolution, ToolProgress,
)  # fmt: skip
_REPLIES: Final[tuple[type[msgspec.Struct], ...]] = (
    TickOutput, SessionManifest, BranchInfo, BranchMergeResult, replies.Recorded, replies.PolicyVersion,
    BudgetState, replies.Cancelled, replies.Closed, replies.LogPlace, Scheduled, Schedules, Dropped,
    Erasure,
)  # fmt: skip
_VALUES: Final[tuple[type[msgspec.Struct], ...]] = (
    SessionSummary, PolicyInForce, ToolboxEntry, Claim, Grant, BlobRef, Placement, ArchivedPart,
    Subscribed, Checkpoint, Revived,
)  # fmt: skip
_COMMANDS: Final[tuple[type[msgspec.Struct], ...]] = get_args(Command)

_SAME_NAMED: Final = {
    "vagus.contract.commands.": "",
    "vagus.contract.events.turn.": "",
    "vagus.contract.events.patch.": "Patch",
    "vagus.contract.models.": "Model",
}
"""Three names are borne by two types each: these come with their modules, and get a name of their own."""


class Entry(msgspec.Struct, frozen=True, kw_only=True):
    """A schema by its name, as it is listed."""

    name: str
    group: str
    """`event`, `extension`, `message`, `command`, `reply` or `value` (of a bucket, or inside a message)."""
    description: str


def uri(name: str) -> str:
    """What a schema is called outside: the same in all releases, since a schema only ever grows."""
    return _URN + name


def entries() -> list[Entry]:
    """All schemas that can be asked for."""
    return list(_entries())


def schema(name: str) -> Schema:
    """One schema with all that it refers to; raises `NotFound`."""
    if name not in {entry.name for entry in _entries()}:
        raise NotFound(f"no schema {name}: `vagus schema --list` names them")
    defined = _local()
    needed = _closure(name, defined)
    top = {"$schema": DIALECT, "$id": uri(name), "title": name}
    others = {other: defined[other] for other in sorted(needed - {name})}
    # What refers back to the schema itself finds it under its name, too.
    if any(f"{_LOCAL}{name}" in _references(defined[other]) for other in needed):
        others = {other: defined[other] for other in sorted(needed)}
    return top | defined[name] | ({"$defs": others} if others else {})


def definitions(prefix: str) -> dict[str, Schema]:
    """Every schema and all types that they are made of; they refer to each other by `prefix` and name."""
    messages = [ErrorInfo if one is Reply else one for one in _MESSAGES]
    types = (*messages, *_COMMANDS, *_REPLIES, *_VALUES, *BY_TYPE.values(), *KINDS.values())
    _, made = msgspec.json.schema_components(types, schema_hook=_hook, ref_template=prefix + "{name}")
    named = {_name(name): cast(Schema, _told(one, prefix)) for name, one in made.items()}
    for event_type, fact in KINDS.items():
        named[event_type] = named.pop(fact.__name__)
    named[KIND] = _kinds(prefix)
    record = cast(dict[str, Json], named[EventRecord.__name__]["properties"])
    record["kind"] = {"$ref": prefix + KIND}
    named["Custom"] = _custom(named["Custom"], prefix)
    named[COMMAND] = {
        "description": "What a client asks of a session; `type` says which.",
        "oneOf": [{"$ref": f"{prefix}{one.__name__}"} for one in _COMMANDS],
    }
    named[Reply.__name__] = _reply(prefix)
    return {name: named[name] for name in sorted(named)}


@cache
def _local() -> dict[str, Schema]:
    """Made once, and not to be changed."""
    return definitions(_LOCAL)


def _entries() -> Iterator[Entry]:
    groups: tuple[tuple[str, dict[str, type[msgspec.Struct]]], ...] = (
        ("message", {one.__name__: one for one in _MESSAGES}),
        ("command", {one.__name__: one for one in _COMMANDS}),
        ("reply", {one.__name__: one for one in _REPLIES}),
        ("value", {one.__name__: one for one in _VALUES}),
        ("event", dict(BY_TYPE)),
        ("extension", dict(KINDS)),
    )
    yield Entry(
        name=COMMAND, group="message", description="What a client asks of a session: any of the commands."
    )
    yield Entry(
        name=KIND, group="message", description="What happened: any of the events, or one that is not known."
    )
    for group, types in groups:
        for name, one in types.items():
            yield Entry(name=name, group=group, description=(one.__doc__ or "").split("\n")[0])


def _hook(shape: type) -> Schema:
    """Free-form JSON is anything."""
    if shape is object:
        return {"description": "Any JSON."}
    raise NotImplementedError(shape)


def _name(name: str) -> str:
    """As a type is called outside."""
    for module, prefix in _SAME_NAMED.items():
        if name.startswith(module):
            return prefix + name.removeprefix(module)
    return name


def _told(value: Json, prefix: str) -> Json:
    """A schema with references under our names, and without what JSON Schema does not know."""
    if isinstance(value, dict):
        kept = {str(name): _told(one, prefix) for name, one in value.items() if name != "discriminator"}
        if isinstance(reference := kept.get("$ref"), str):
            kept["$ref"] = prefix + _name(reference.removeprefix(prefix))
        return kept
    if isinstance(value, list | tuple):
        return [_told(one, prefix) for one in value]
    return value


def _kinds(prefix: str) -> Schema:
    """Known kinds have the fields of their type; any other type may come from a later release."""
    return {
        "description": "What happened. Readers keep a type that they do not know as it is, and count it.",
        "type": "object",
        "properties": {"type": {"type": "string"}},
        "required": ["type"],
        "anyOf": [
            *({"$ref": prefix + name} for name in BY_TYPE),
            {"title": "Unknown", "properties": {"type": {"not": {"enum": list(BY_TYPE)}}}},
        ],
    }


def _reply(prefix: str) -> Schema:
    """Made by hand: the generator has no schema for JSON that is kept as text."""
    return {
        "description": "The answer to a command, or to an answer: exactly one of `ok` and `error`.",
        "type": "object",
        "properties": {
            "command_id": {"type": "string"},
            "ok": {"description": "By the type of the command: one of the replies."},
            "error": {"$ref": prefix + ErrorInfo.__name__},
        },
        "required": ["command_id"],
        "oneOf": [{"required": ["ok"]}, {"required": ["error"]}],
    }


def _custom(base: Schema, prefix: str) -> Schema:
    """Under our own names there is our own data."""
    ours: list[Json] = [
        {
            "if": {"properties": {"event_type": {"const": event_type}}},
            "then": {"properties": {"data": {"$ref": prefix + event_type}}},
        }
        for event_type in KINDS
    ]
    return base | {"allOf": ours}


def _references(value: Json) -> set[str]:
    if isinstance(value, dict):
        own = {value["$ref"]} if isinstance(value.get("$ref"), str) else set[str]()
        return own.union(*(_references(one) for one in value.values()))
    if isinstance(value, list):
        return set[str]().union(*(_references(one) for one in value))
    return set()


def _closure(name: str, defined: dict[str, Schema]) -> set[str]:
    found, left = {name}, [name]
    while left:
        for reference in _references(defined[left.pop()]):
            other = reference.removeprefix(_LOCAL)
            if other not in found:
                found.add(other)
                left.append(other)
    return found
