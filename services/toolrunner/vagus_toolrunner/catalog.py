"""The tools that a runner offers, and where they come from."""

import importlib
import importlib.util
import sys
from collections.abc import Iterable, Iterator
from importlib.metadata import entry_points
from pathlib import Path
from types import ModuleType
from typing import Any, Final

from vagus.contract.errors import SettingsError
from vagus.tools import Tool

ENTRY_POINTS: Final = "vagus.tools"
"""The group under which installed packages offer tools: each names a module, or one tool in it."""


class Catalog:
    """Tools by name; of one name there is one."""

    def __init__(self, tools: Iterable[Tool[Any, Any]], pools: Iterable[str] = ()) -> None:
        """Take `tools`; only those of `pools`, if any are named."""
        wanted = frozenset(pools)
        self._tools: dict[str, Tool[Any, Any]] = {}
        for tool in tools:
            if wanted and tool.definition.pool not in wanted:
                continue
            if self._tools.setdefault(tool.definition.name, tool) is not tool:
                raise SettingsError(
                    f"two tools are named {tool.definition.name}: rename one (@vagus.tool(name=…))"
                )
        self.pools = tuple(sorted({tool.definition.pool for tool in self}))
        if missing := wanted.difference(self.pools):
            raise SettingsError(f"VAGUS_POOLS={','.join(sorted(missing))}: no tool here belongs to it")

    def __iter__(self) -> Iterator[Tool[Any, Any]]:
        return iter(self._tools.values())

    def get(self, name: str) -> Tool[Any, Any] | None:
        """The tool of that name."""
        return self._tools.get(name)


def installed() -> Iterator[Tool[Any, Any]]:
    """The tools of installed packages."""
    for entry in entry_points(group=ENTRY_POINTS):
        try:
            found = entry.load()
        except Exception as error:
            raise SettingsError(
                f"cannot load the tools of {entry.name} ({entry.value}): {_why(error)}"
            ) from error
        yield from (found,) if isinstance(found, Tool) else _in(found, entry.value)


def named(modules: Iterable[str]) -> Iterator[Tool[Any, Any]]:
    """The tools of modules that a setting names."""
    for name in modules:
        try:
            module = _load_file(Path(name)) if name.endswith(".py") else importlib.import_module(name)
        except Exception as error:
            raise SettingsError(f"VAGUS_TOOLS={name}: cannot load it: {_why(error)}") from error
        yield from _in(module, name)


def _in(found: object, name: str) -> list[Tool[Any, Any]]:
    tools = [value for value in getattr(found, "__dict__", {}).values() if isinstance(value, Tool)]
    if not tools:
        raise SettingsError(f"{name} holds no tools: decorate a function with @vagus.tool")
    return tools


def _load_file(path: Path) -> ModuleType:
    path = path.resolve()
    name = f"vagus_tools_of_{path.stem}"
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise ImportError(f"{path} is no Python file")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # before it runs, as import does: its annotations are looked up there
    spec.loader.exec_module(module)
    return module


def _why(error: Exception) -> str:
    return f"{type(error).__name__}: {error}"
