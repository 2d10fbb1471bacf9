"""A rule that cannot be broken proves nothing: each is broken by somebody, at every place that complains."""

import ast
import sys
from pathlib import Path

import pytest

import chaos.checker
from chaos.checker.report import PROVEN, Findings, Rule
from tests.chaos import (
    test_planted_archive,
    test_planted_calls,
    test_planted_chain,
    test_planted_elsewhere,
    test_planted_erasure,
    test_planted_firehose,
    test_planted_states,
    test_planted_turns,
)
from tests.kit.recording import Recording

PLANTS = [
    *test_planted_archive.planted,
    *test_planted_calls.planted,
    *test_planted_chain.planted,
    *test_planted_elsewhere.planted,
    *test_planted_erasure.planted,
    *test_planted_firehose.planted,
    *test_planted_states.planted,
    *test_planted_turns.planted,
]
FOLDER = Path(chaos.checker.__file__).parent


def complaints() -> set[tuple[str, int, int]]:
    """Where the checker says that something is wrong: file, first and last line."""
    found = set()
    for file in FOLDER.glob("*.py"):
        for node in ast.walk(ast.parse(file.read_text())):
            match node:
                case ast.Call(func=ast.Attribute(attr="say")) if file.name != "report.py":
                    found.add((file.name, node.lineno, node.end_lineno or node.lineno))
    return found


def test_every_rule_has_a_plant_and_a_sentence() -> None:
    assert {plant.rule for plant in PLANTS} == set(Rule)
    assert set(PROVEN) == set(Rule)


async def test_every_complaint_is_heard_once(
    recorded: Recording, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    heard: set[tuple[str, int]] = set()
    say = Findings.say

    def listen(self: Findings, *arguments: object) -> None:
        frame = sys._getframe(1)
        while frame.f_back is not None and Path(frame.f_code.co_filename).name == "report.py":
            frame = frame.f_back
        heard.add((Path(frame.f_code.co_filename).name, frame.f_lineno))
        say(self, *arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(Findings, "say", listen)
    for plant in PLANTS:
        recording = recorded.copy()
        plant.put(recording)
        await recording.checked(tmp_path)
    silent = [
        (file, first)
        for file, first, last in complaints()
        if not any(name == file and first <= line <= last for name, line in heard)
    ]
    assert silent == []
