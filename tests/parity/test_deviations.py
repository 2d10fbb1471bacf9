"""What we tell otherwise than the original is declared, and nothing is declared that does not occur."""

import re
from pathlib import Path

import pytest

from tests.parity.applicability import NOT_PLAYED, NOT_RETOLD, REFUSED_SETTINGS, WITHOUT_THE_FAULT
from tests.parity.deviations import declared, met
from tests.parity.rulings import RULINGS
from tests.parity.trace import load, names

DOCUMENT = Path(__file__).parents[2] / "docs" / "deviations.md"


@pytest.mark.parametrize("name", [name for name in names() if name not in NOT_PLAYED])
def test_the_differences_of_a_trace_are_the_declared_ones(name: str) -> None:
    assert met(load(name)) == declared().get(name, {})


def test_every_declared_trace_exists() -> None:
    assert set(declared()) <= set(names())


def test_every_ruling_changes_some_trace() -> None:
    assert {ruling for deviations in declared().values() for ruling in deviations} == set(RULINGS)


def test_the_tables_of_applicability_name_traces() -> None:
    assert {*NOT_PLAYED, *NOT_RETOLD, *REFUSED_SETTINGS, *WITHOUT_THE_FAULT} <= set(names())


def test_every_trace_with_a_fault_says_why_it_is_played_without() -> None:
    faults = {"inject_fault", "store_append", "append_file", "switch_runtime", "delete_path"}
    struck = {name for name in names() if faults & {step["op"] for step in load(name).steps}}
    assert struck == set(WITHOUT_THE_FAULT)


# docs/deviations.md ----------------------------------------------------------------------------------------


def test_the_document_lists_every_ruling_with_its_traces() -> None:
    traces: dict[str, set[str]] = {}
    for name, deviations in declared().items():
        for ruling in deviations:
            traces.setdefault(ruling, set()).add(name)
    documented = {row[0]: (row[1], set(re.findall(r"`(\w+)`", row[2]))) for row in _rows("By ruling")}
    told = {ruling: (RULINGS[ruling], found) for ruling, found in traces.items()}
    assert documented == told


def test_the_document_says_of_every_trace_why_it_does_not_apply_as_it_stands() -> None:
    for heading, table in (
        ("Not played", NOT_PLAYED),
        ("Played without their fault", WITHOUT_THE_FAULT),
        ("Played with settings that a kernel refuses", REFUSED_SETTINGS),
    ):
        assert {row[0].strip("`"): row[1] for row in _rows(heading)} == table


def _rows(heading: str) -> list[list[str]]:
    """The cells of the table under a heading, without its head."""
    section = DOCUMENT.read_text().split(f"## {heading}\n", 1)[1].split("\n## ", 1)[0]
    lines = [line for line in section.splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in line.strip("|").split(" | ")] for line in lines[2:]]
