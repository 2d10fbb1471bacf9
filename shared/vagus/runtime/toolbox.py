"""The toolbox: which tools there are, as their runners registered them.

Definitions persist; that a runner lives is told by its lease alone. A tool's name means one thing everywhere:
the policy gate derives capabilities from the definition, so two that differ would be a way round the policy.
"""

import logging
from collections.abc import AsyncGenerator, Collection
from contextlib import asynccontextmanager
from typing import Self

import anyio
import msgspec
from anyio.abc import TaskStatus

from vagus.contract import streams
from vagus.contract.errors import Malformed, Refused
from vagus.contract.messages import decode
from vagus.contract.subjects import Subjects
from vagus.contract.tools import DEFAULT_POOL, ToolboxEntry, ToolDefinition
from vagus.runtime import clock
from vagus.runtime.bucket import Bucket, CaughtUp, Deleted, Entry
from vagus.runtime.bus import Bus

log = logging.getLogger("vagus.toolbox")


class Toolbox(anyio.AsyncContextManagerMixin):
    """A live view of all definitions: `async with Toolbox(...) as toolbox`; complete from the start."""

    def __init__(self, bus: Bus, subjects: Subjects) -> None:
        self._bucket = Bucket(bus, subjects.named(streams.TOOLBOX))
        self._by_key: dict[str, ToolDefinition] = {}
        self._by_name: dict[str, ToolDefinition] = {}

    def get(self, tool_name: str) -> ToolDefinition | None:
        """The tool's definition; of several pools that offer it the default one, else the first by name."""
        return self._by_name.get(tool_name)

    def all(self) -> list[ToolDefinition]:
        """Every tool once, by name."""
        return [definition for _, definition in sorted(self._by_name.items())]

    @asynccontextmanager
    async def __asynccontextmanager__(self) -> AsyncGenerator[Self, None]:
        async with anyio.create_task_group() as group:
            await group.start(self._follow)
            yield self
            group.cancel_scope.cancel()

    async def _follow(self, *, task_status: TaskStatus[None]) -> None:
        async with self._bucket.watch() as changes:
            async for change in changes:
                if isinstance(change, CaughtUp):
                    task_status.started()
                elif isinstance(change, Deleted):
                    self._by_key.pop(change.key, None)
                    self._index()
                elif (definition := _definition(change)) is not None:
                    self._by_key[change.key] = definition
                    self._index()

    def _index(self) -> None:
        best_last = sorted(self._by_key.values(), key=lambda found: found.pool, reverse=True)
        best_last.sort(key=lambda found: found.pool == DEFAULT_POOL)
        self._by_name = {definition.name: definition for definition in best_last}


async def register(
    bus: Bus,
    subjects: Subjects,
    definition: ToolDefinition,
    *,
    live_pools: Collection[str] | None = None,
) -> None:
    """Put a definition into the toolbox. Idempotent: an equal one that is there already stays.

    Args:
        bus: The connection.
        subjects: The names.
        definition: The tool.
        live_pools: Pools that have a live runner: a differing definition that any other pool has left behind
            is replaced instead of refusing ours. None: every definition counts.

    Raises:
        Refused: A pool has a tool of this name with other capabilities or another input schema.
    """
    bucket = Bucket(bus, subjects.named(streams.TOOLBOX))
    mine = f"{definition.pool}.{definition.name}"
    found = await _registered(bucket, definition.name)
    for entry, other in found:
        if not _differ(definition, other):
            continue
        if live_pools is None or other.pool in live_pools:
            raise _refusal(definition, other)
        if entry.key != mine:
            await bucket.delete(entry.key, entry.revision)
    if any(entry.key == mine and other == definition for entry, other in found):
        return
    value = ToolboxEntry(definition=definition, registered_at=clock.now())
    revision = await bucket.put(mine, msgspec.json.encode(value))
    # Of two that register differing definitions at the same time, the one that came first stays.
    for entry, other in await _registered(bucket, definition.name):
        if entry.revision < revision and _differ(definition, other):
            await bucket.delete(mine, revision)
            raise _refusal(definition, other)


async def withdraw(bus: Bus, subjects: Subjects, pool: str, tool_name: str) -> None:
    """Take a definition out of the toolbox. Idempotent."""
    await Bucket(bus, subjects.named(streams.TOOLBOX)).delete(f"{pool}.{tool_name}")


async def _registered(bucket: Bucket, tool_name: str) -> list[tuple[Entry, ToolDefinition]]:
    entries = await bucket.entries(f"*.{tool_name}")
    return [(entry, found) for entry in entries if (found := _definition(entry)) is not None]


def _differ(one: ToolDefinition, other: ToolDefinition) -> bool:
    return one.input_schema != other.input_schema or set(one.capabilities) != set(other.capabilities)


def _refusal(mine: ToolDefinition, other: ToolDefinition) -> Refused:
    what = "another input schema" if mine.input_schema != other.input_schema else "other capabilities"
    return Refused(
        f"tool {mine.name} is registered by pool {other.pool} with {what}: "
        "rename one, or stop that pool's runners first"
    )


def _definition(entry: Entry) -> ToolDefinition | None:
    try:
        return decode(entry.value, ToolboxEntry).definition
    except Malformed as error:
        log.warning("the toolbox entry %s is left out: %s", entry.key, error.message)
        return None
