"""Patches of the canonical state (fact sheet 1.5); the kernel writes none, other recorders do."""

from typing import TypeAlias

import msgspec

from vagus.contract.events.base import U64
from vagus.contract.json import Json


class BlobName(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A value that is stored elsewhere."""

    blob_id: str
    content_type: str
    codec: str | None = None
    meta: Json = None


class _Operation(msgspec.Struct, frozen=True, kw_only=True, tag_field="op", omit_defaults=True):
    path: str
    """A JSON pointer."""


class Set(_Operation, frozen=True, kw_only=True, tag="set"):
    """Put a value at the path."""

    value: Json


class Merge(_Operation, frozen=True, kw_only=True, tag="merge"):
    """Put the members of an object into the one at the path."""

    object: dict[str, Json]


class Append(_Operation, frozen=True, kw_only=True, tag="append"):
    """Add values to the array at the path."""

    values: list[Json]


class Tombstone(_Operation, frozen=True, kw_only=True, tag="tombstone"):
    """Close the path for good."""

    reason: str
    replaced_by: str | None = None


class SetRef(_Operation, frozen=True, kw_only=True, tag="set_ref"):
    """Put a reference to a blob at the path."""

    blob_ref: BlobName


PatchOperation: TypeAlias = Set | Merge | Append | Tombstone | SetRef


class FromEvent(msgspec.Struct, frozen=True, kw_only=True, tag_field="type", tag="event"):
    """The patch rests on an event."""

    event_id: str


class FromBlob(msgspec.Struct, frozen=True, kw_only=True, tag_field="type", tag="blob"):
    """The patch rests on a blob."""

    blob_id: str


class StatePatch(msgspec.Struct, frozen=True, kw_only=True):
    """Changes to one version of the canonical state."""

    base_version: U64
    ops: tuple[PatchOperation, ...] = ()
    provenance: tuple[FromEvent | FromBlob, ...] = ()
