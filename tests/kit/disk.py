"""What a disk holds after a power cut, worked out from what a program has done to a folder.

What must be there: what a file held when a sync of it began that has ended, and what was written through;
the file's name, and the folders that lead to it, with the first of these; any name with a sync of its folder.
This is what ext4, xfs and btrfs keep. All else, what the page cache held and names that nobody synced, may be
there or not: page by page, name by name, as `Keep` says. So the order of writes says nothing, and a page may
be new behind one that is old.
"""

import random
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Final, TypeAlias

from tests.kit.tracer import Operation

PAGE: Final = 4096
Keep: TypeAlias = Callable[[], bool]
"""Whether something that nobody synced is there all the same."""


def nothing() -> bool:
    """The worst disk: it keeps what it must."""
    return False


def everything() -> bool:
    """No power cut at all."""
    return True


def some(seed: int) -> Keep:
    """A disk that was about to write, to an extent that the seed says."""
    chance = random.Random(seed)
    share = chance.random()
    return lambda: chance.random() < share


class _Change:
    """A write or a truncate."""

    def __init__(self, operation: Operation) -> None:
        self.operation = operation
        self.synced = operation.synced

    def apply(self, content: bytearray) -> None:
        offset, data = self.operation.offset, self.operation.data
        end = offset + len(data)
        content.extend(bytes(max(0, end - len(content))))
        if self.operation.verb == "truncate":
            del content[offset:]
        else:
            content[offset:end] = data


class _Node:
    """A file, with all that was done to it, or a folder."""

    def __init__(self, *, folder: bool) -> None:
        self.folder = folder
        self.changes: list[_Change] = []
        self._synced = 0
        """How many of the first changes are."""

    def sync(self, before_ns: int) -> None:
        """Everything that was done before is kept."""
        while self._synced < len(self.changes) and self.changes[self._synced].operation.ended_ns < before_ns:
            self.changes[self._synced].synced = True
            self._synced += 1

    def content(self, keep: Keep) -> bytes:
        sure, cached = bytearray(), bytearray()
        for change in self.changes:
            change.apply(cached)
            if change.synced:
                change.apply(sure)
        if sure == cached:
            return bytes(sure)
        found = sure
        for start in range(0, max(len(sure), len(cached)), PAGE):
            page = cached[start : start + PAGE]
            if found[start : start + PAGE] != page and keep():
                found.extend(bytes(max(0, start - len(found))))
                found[start : start + PAGE] = page
        return bytes(found)


class _Naming:
    """Something done to names: `make`, `create`, `rename` or `remove`."""

    def __init__(self, operation: Operation, node: _Node) -> None:
        self.operation = operation
        self.node = node
        self.synced = False

    def apply(self, names: dict[str, _Node]) -> None:
        path, to = self.operation.path, self.operation.to
        match self.operation.verb:
            case "rename":
                for name in [name for name in names if _within(name, path)]:
                    names[to + name.removeprefix(path)] = names.pop(name)
            case "remove":
                names.pop(path, None)
            case _:
                names[path] = self.node


class Disk:
    """A folder as a disk knows it, at one time of a record."""

    def __init__(self, operations: Iterable[Operation], until_ns: int | None = None) -> None:
        self._names: dict[str, _Node] = {}
        self._namings: list[_Naming] = []
        for operation in operations:
            if until_ns is not None and operation.ended_ns > until_ns:
                break
            self._take(operation)

    def files(self, keep: Keep) -> dict[str, bytes | None]:
        """The content of each path after a power cut now, None for a folder; no file without its folder."""
        names: dict[str, _Node] = {}
        for naming in self._namings:
            if naming.synced or keep():
                naming.apply(names)
        return {
            path: None if node.folder else node.content(keep)
            for path, node in sorted(names.items())
            if all(parent in names for parent in self._parents(path))
        }

    def _take(self, operation: Operation) -> None:
        node = self._names.get(operation.path)
        match operation.verb:
            case "make" | "create":
                if node is None:
                    self._name(operation, _Node(folder=operation.verb == "make"))
            case "rename" | "remove" if node is not None:
                self._name(operation, node)
            case "write" | "truncate" if node is not None:
                node.changes.append(_Change(operation))
                if operation.synced:
                    self._sync_names(node, operation)
            case "sync" if node is not None:
                node.sync(operation.began_ns)
                self._sync_names(node, operation)
            case _:
                pass  # of a file that has no name any more

    def _name(self, operation: Operation, node: _Node) -> None:
        self._namings.append(_Naming(operation, node))
        self._namings[-1].apply(self._names)

    def _sync_names(self, node: _Node, sync: Operation) -> None:
        """Keep the names of what is synced and of its folders; of a synced folder, all names in it too."""
        kept = {id(node)} | {id(self._names[path]) for path in self._parents(sync.path)}
        for naming in self._namings:
            done = naming.operation
            inside = node.folder and sync.path in (_parent(done.path), _parent(done.to))
            if done.ended_ns < sync.began_ns and (inside or id(naming.node) in kept):
                naming.synced |= inside or done.verb != "remove"

    def _parents(self, path: str) -> list[str]:
        """The folders that lead to it, as far as they are in the record."""
        return [
            name for name, node in self._names.items() if node.folder and _within(path, name) and name != path
        ]


def write(files: dict[str, bytes | None], source: Path, target: Path) -> None:
    """Put what was below `source` below `target`."""
    for path, content in files.items():
        place = target / Path(path).relative_to(source)
        if content is None:
            place.mkdir(parents=True, exist_ok=True)
        else:
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_bytes(content)


def _parent(path: str) -> str:
    return path.rpartition("/")[0]


def _within(path: str, folder: str) -> bool:
    return path == folder or path.startswith(folder + "/")
