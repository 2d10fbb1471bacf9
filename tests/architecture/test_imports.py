"""Who may import whom."""

import subprocess
import sys
from collections.abc import Sequence
from typing import NamedTuple

import pytest

from tests.architecture.sources import ROOT, SERVICES, Module, imports, parse, project, within

WORLD = {
    "anyio", "asyncio", "concurrent", "contextvars", "ctypes", "fcntl", "http", "io", "logging", "os",
    "pathlib", "multiprocessing", "random", "secrets", "select", "selectors", "shutil", "signal", "socket",
    "ssl", "subprocess", "tempfile", "threading", "time", "urllib",
}  # fmt: skip
"""Modules of the standard library (and anyio) whose use has an effect, or depends on the moment."""

DATA_ONLY = tuple(sorted(sys.stdlib_module_names - WORLD))

_CORE = (
    "state",
    "evolve",
    "react",
    "decide",
    "homeostasis",
    "loops",
    "facts",
    "effects",
    "inputs",
)
PURE_KERNEL = tuple(f"vagus_kernel.{name}" for name in _CORE)


class Rule(NamedTuple):
    """What the modules inside `of` may import: nothing but `only`, and never `never`."""

    text: str
    of: tuple[str, ...]
    only: tuple[str, ...] | None = None
    never: tuple[str, ...] = ()
    unless: tuple[str, ...] = ()
    """Modules that the rule does not bind."""


RULES = [
    Rule(
        "the contract imports nobody",
        ("vagus.contract",),
        only=("vagus.contract", "msgspec", "blake3", *DATA_ONLY),
    ),
    Rule(
        "the runtime serves all and knows none",
        ("vagus.runtime",),
        never=("vagus.sdk", "vagus.cli", "vagus.tools"),
    ),
    Rule("the SDK does not know the command line", ("vagus.sdk",), never=("vagus.cli",)),
    Rule("shared code never imports a service: processes are started", ("vagus",), never=SERVICES),
    Rule(
        "tools need neither a server nor a client",
        ("vagus.tools", "vagus.signature"),
        never=("vagus.runtime", "vagus.sdk", "vagus.cli"),
    ),
    *[
        Rule(
            f"{service} meets others through shared code only",
            (service,),
            never=(*(other for other in SERVICES if other != service), "vagus.sdk", "vagus.cli"),
        )
        for service in SERVICES
    ],
    Rule(
        "the kernel's core is pure",
        PURE_KERNEL,
        only=(
            "vagus.contract", "msgspec", *PURE_KERNEL,
            "collections", "dataclasses", "enum", "functools", "itertools", "typing",
        ),
    ),
    Rule(
        "nats-py stays behind the runtime",
        ("vagus", *SERVICES),
        never=("nats", "nkeys", "nacl"),
        unless=("vagus.runtime",),
    ),
    Rule("benchmarks see what users see", ("benchmarks",), never=SERVICES),
    Rule(
        "the checker shares no code with what it checks",
        ("chaos.checker",),
        only=("chaos.checker", "anyio", "blake3", "msgspec", "nats", *sorted(sys.stdlib_module_names)),
    ),
]  # fmt: skip


def violations(rule: Rule, modules: Sequence[Module]) -> list[str]:
    """Imports that break the rule, one line each."""
    return [
        f"{module.name} imports {name}: {rule.text}"
        for module in modules
        if within(module.name, *rule.of) and not within(module.name, *rule.unless)
        for name in imports(module)
        if name.startswith(".")
        or (rule.only is not None and not within(name, *rule.only))
        or within(name, *rule.never)
    ]


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.text)
def test_imports_follow_the_rule(rule: Rule) -> None:
    modules = project()
    assert any(within(module.name, *rule.of) for module in modules), "the rule binds no module"
    assert violations(rule, modules) == []


@pytest.mark.parametrize(
    ("name", "source", "broken"),
    [
        ("vagus.contract.events.base", "import anyio", "the contract imports nobody"),
        ("vagus.contract.clock", "def now():\n    from time import time_ns", "the contract imports nobody"),
        ("vagus.runtime.bus", "from vagus import sdk", "the runtime serves all and knows none"),
        ("vagus.sdk.client", "import vagus.cli.app", "the SDK does not know the command line"),
        ("vagus.cli.up", "m = importlib.import_module('vagus_kernel.kernel')", "shared code never imports"),
        ("vagus.tools", "from vagus.runtime.bus import Bus", "tools need neither a server nor a client"),
        ("vagus_approver.agenda", "import vagus_kernel.state", "vagus_approver meets others"),
        ("vagus_toolrunner.runner", "if TYPE_CHECKING:\n    import vagus_policygate", "vagus_toolrunner"),
        ("vagus_policygate.gate", "from vagus.sdk.client import connect", "vagus_policygate meets others"),
        ("vagus_kernel.providers.baseline", "import vagus_toolrunner", "vagus_kernel meets others"),
        ("vagus_kernel.decide.turn", "from vagus.runtime import clock", "the kernel's core is pure"),
        ("vagus_kernel.state", "import uuid", "the kernel's core is pure"),
        ("vagus_kernel.evolve", "from vagus_kernel import actor", "the kernel's core is pure"),
        ("vagus_kernel.react", "from .actor import Actor", "the kernel's core is pure"),
        ("vagus_kernel.actor", "import nats.errors", "nats-py stays behind the runtime"),
        ("benchmarks.ticks", "import vagus_kernel", "benchmarks see what users see"),
        ("chaos.checker.chain", "from vagus.contract.codec import verify", "the checker shares no code"),
        ("chaos.checker", "if TYPE_CHECKING:\n    import vagus_kernel.state", "the checker shares no code"),
        ("chaos.checker.ledger", "from chaos.tools import Entry", "the checker shares no code"),
    ],
)  # fmt: skip
def test_a_forbidden_import_is_found(name: str, source: str, broken: str) -> None:
    found = [line for rule in RULES for line in violations(rule, [parse(name, source)])]
    assert [line for line in found if broken in line]


def test_the_checker_runs_without_what_it_checks() -> None:
    """Nor does anything that it imports bring it along."""
    code = "import sys, chaos.checker.__main__; print(*sys.modules)"
    loaded = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, check=True, text=True
    )
    modules = loaded.stdout.split()
    assert "chaos.checker.check" in modules
    assert [name for name in modules if within(name, "vagus", *SERVICES)] == []


def test_an_allowed_import_is_not_complained_of() -> None:
    allowed = parse(
        "vagus_kernel.decide.turn", "from vagus.contract import limits\nfrom vagus_kernel import loops"
    )
    assert [line for rule in RULES for line in violations(rule, [allowed])] == []
