"""The contract and the kernel's core compute: they neither wait, nor ask for the time, nor touch anything."""

import ast
from collections.abc import Iterator

import pytest

from tests.architecture.sources import Module, parse, project, within
from tests.architecture.test_imports import PURE_KERNEL

PURE = ("vagus.contract", *PURE_KERNEL)
BUILTINS = {"open", "print", "input", "breakpoint", "exec", "eval", "globals", "id"}
"""Effects that need no import; `id` differs from one process to the next."""
METHODS = {"now", "utcnow", "today", "uuid1", "uuid4", "getrandbits", "urandom"}


def effects(module: Module) -> Iterator[str]:
    """What a module does beyond computing, one line each."""
    for node in ast.walk(module.tree):
        where = f"{module.name}:{getattr(node, 'lineno', 0)}"
        match node:
            case ast.AsyncFunctionDef(name=name):
                yield f"{where} waits: async def {name}"
            case ast.Await() | ast.AsyncFor() | ast.AsyncWith():
                yield f"{where} waits"
            case ast.Global(names=names):
                yield f"{where} keeps state: global {', '.join(names)}"
            case ast.Call(func=ast.Name(id=name)) if name in BUILTINS | METHODS:
                yield f"{where} calls {name}()"
            case ast.Call(func=ast.Attribute(attr=name)) if name in METHODS:
                yield f"{where} calls {name}()"


def test_the_pure_modules_have_no_effects() -> None:
    pure = [module for module in project() if within(module.name, *PURE)]
    assert len(pure) > len(PURE)
    assert [line for module in pure for line in effects(module)] == []


@pytest.mark.parametrize(
    "source",
    [
        "async def decide(state): ...",
        "def decide(state):\n    return open('x')",
        "def decide(state):\n    return datetime.now()",
        "def decide(state):\n    return uuid.uuid4()",
        "from uuid import uuid4\nrun = uuid4()",
        "def evolve(state):\n    global seen\n    seen = state",
        "class Decision:\n    def emit(self):\n        print(self)",
    ],
)
def test_an_effect_is_found(source: str) -> None:
    assert list(effects(parse("vagus_kernel.decide.sample", source)))
