"""Subjects are spelt in `vagus.contract.subjects`, once more where nothing is shared, and nowhere else."""

import ast
import re
from collections.abc import Iterator, Sequence

import pytest

from tests.architecture.sources import Module, parse, project

HOME = "vagus.contract.subjects"
CHECKER = "chaos.checker.names"
"""It shares no code with what it checks."""


def skeletons(module: Module) -> Iterator[tuple[int, str]]:
    """Every text of a module with its line, what is filled in as `*`; docstrings are left out."""
    inside = {
        id(part) for node in ast.walk(module.tree) if isinstance(node, ast.JoinedStr) for part in node.values
    }
    alone = {id(node.value) for node in ast.walk(module.tree) if isinstance(node, ast.Expr)}
    for node in ast.walk(module.tree):
        match node:
            case ast.JoinedStr(values=values):
                yield node.lineno, "".join(_part(value) for value in values)
            case ast.Constant(value=str(text)) if id(node) not in inside | alone:
                yield node.lineno, text
            case ast.Constant(value=bytes(text)) if id(node) not in alone:
                yield node.lineno, text.decode(errors="replace")


def _part(value: ast.expr) -> str:
    return str(value.value) if isinstance(value, ast.Constant) else "*"


def families(home: Module) -> set[str]:
    """The second tokens of the subjects that `subjects.py` spells: session, inbox, gate, …"""
    spelt = (text for _, text in skeletons(home))
    return {found[1] for text in spelt if (found := re.match(r"\*\.([a-z]+)\.", text))}


def spelt(module: Module, known: set[str]) -> list[str]:
    """Texts that are subjects of Vagus: a root, spelt or filled in, then a known family and a dot."""
    subject = re.compile(rf"(vagus|\*|)\.({'|'.join(sorted(known))})(\.|$)")
    return [f"{module.name}:{line}: {text!r}" for line, text in skeletons(module) if subject.match(text)]


def _home(modules: Sequence[Module]) -> Module:
    return next(module for module in modules if module.name == HOME)


def test_the_families_are_those_of_the_contract() -> None:
    assert families(_home(project())) == {
        "approval", "answer", "archive", "control", "dead", "due", "event", "feed", "gate", "inbox", "live",
        "report", "restore", "schedule", "session", "tool", "verdict",
    }  # fmt: skip


def test_no_other_module_spells_a_subject() -> None:
    modules = project()
    known = families(_home(modules))
    assert [
        line for module in modules if module.name not in (HOME, CHECKER) for line in spelt(module, known)
    ] == []


@pytest.mark.parametrize(
    "source",
    [
        "subject = f'{root}.inbox.command.{session}'",
        "subject = 'vagus.session.' + session",
        "async def go(bus):\n    await bus.publish(f'{self.root}.gate.{session}', b'')",
        "FILTER = root + '.feed.>'",
        "PREFIX = b'vagus.live.'",
    ],
)
def test_a_subject_in_another_place_is_found(source: str) -> None:
    assert spelt(parse("vagus_kernel.sample", source), families(_home(project())))


@pytest.mark.parametrize(
    "source",
    [
        '"""Listens to vagus.inbox.0.command.s."""',
        "NAME = 'life.tool.executions'",
        "verb = f'STREAM.INFO.{stream}'",
        "log = getLogger('vagus.bus')",
        "path = f'{name}.log'",
    ],
)
def test_other_texts_with_dots_are_left_alone(source: str) -> None:
    assert spelt(parse("vagus.runtime.sample", source), families(_home(project()))) == []
