"""The project's sources, read and not run."""

import ast
import subprocess
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parents[2]
SERVICES = ("vagus_kernel", "vagus_policygate", "vagus_toolrunner", "vagus_approver", "vagus_relay")
_FOLDERS = {
    "vagus": "shared",
    "vagus_kernel": "services/kernel",
    "vagus_policygate": "services/policygate",
    "vagus_toolrunner": "services/toolrunner",
    "vagus_approver": "services/approver",
    "vagus_relay": "services/relay",
    "benchmarks": ".",
    "chaos": ".",
}
"""Import names and the folders that hold them."""


class Module(NamedTuple):
    """One module: its dotted name and its syntax."""

    name: str
    tree: ast.Module


def parse(name: str, source: str) -> Module:
    """A module that is not on disk: a sample."""
    return Module(name, ast.parse(source))


@cache
def project() -> tuple[Module, ...]:
    """Every module that is shipped, the benchmarks and the chaos."""
    found = []
    for package, folder in _FOLDERS.items():
        base = ROOT / folder
        for path in sorted((base / package).rglob("*.py")):
            parts = path.relative_to(base).with_suffix("").parts
            name = ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
            found.append(parse(name, path.read_text()))
    return tuple(found)


def within(name: str, *prefixes: str) -> bool:
    """Whether a dotted name is one of the prefixes or inside one."""
    return any(name == prefix or name.startswith(prefix + ".") for prefix in prefixes)


def imports(module: Module) -> Iterator[str]:
    """What a module imports, anywhere in it: `from a import b` and `import_module("a.b")` are both `a.b`."""
    for node in ast.walk(module.tree):
        match node:
            case ast.Import(names=names):
                yield from (alias.name for alias in names)
            case ast.ImportFrom(module=None | "", level=level) | ast.ImportFrom(level=level) if level:
                yield f"{'.' * level} (relative)"
            case ast.ImportFrom(module=str(source), names=names):
                yield from (f"{source}.{alias.name}" for alias in names)
            case ast.Call(
                func=ast.Name(id="import_module" | "__import__") | ast.Attribute(attr="import_module"),
                args=[ast.Constant(value=str(name)), *_],
            ):
                yield name


def tracked() -> list[Path]:
    """The files that git keeps, or would with the next `git add`; every file where there is no git."""
    listing = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        check=False,
    )
    if listing.returncode == 0:
        names = [name for name in listing.stdout.decode().split("\0") if name]
        return [path for name in names if (path := ROOT / name).is_file()]
    return [path for path in ROOT.rglob("*") if path.is_file() and not _derived(path.relative_to(ROOT))]


def _derived(path: Path) -> bool:
    return any((part.startswith(".") and part != ".ci") or part == "__pycache__" for part in path.parts)
