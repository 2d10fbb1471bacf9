"""The tools a gate knows, each with its schema made ready."""

import re
from typing import Final

from vagus.contract.errors import Malformed
from vagus.contract.messages import decode
from vagus.contract.tools import ToolboxEntry, ToolDefinition
from vagus.runtime.bucket import Bucket
from vagus.runtime.toolbox import Toolbox
from vagus_policygate.evaluate import KnownTool

_MOST: Final = 4096
"""Tools held ready; more than anybody has."""
_NAME: Final = re.compile(r"[A-Za-z0-9_.-]{1,128}")


class Tools:
    """Looks tools up in the live view, and in the bucket before it says that there is none."""

    def __init__(self, toolbox: Toolbox, bucket: Bucket) -> None:
        self._toolbox = toolbox
        self._bucket = bucket
        self._ready: dict[str, KnownTool] = {}

    async def find(self, name: str) -> KnownTool | None:
        """The tool, if any runner has ever registered it."""
        definition = self._toolbox.get(name)
        if definition is None:
            # the view may be a moment behind a runner that has just registered
            definition = await self._read(name)
        if definition is None:
            return None
        ready = self._ready.get(name)
        if ready is None or ready.definition is not definition:
            if len(self._ready) >= _MOST:
                self._ready.clear()
            ready = self._ready[name] = KnownTool(definition)
        return ready

    async def _read(self, name: str) -> ToolDefinition | None:
        if not _NAME.fullmatch(name):
            return None  # no tool is called so, and it might be a pattern
        try:
            found = await self._bucket.latest(f"*.{name}")
            definition = None if found is None else decode(found.value, ToolboxEntry).definition
        except Malformed:
            return None
        return definition if definition is not None and definition.name == name else None
