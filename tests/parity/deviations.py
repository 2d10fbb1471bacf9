"""The declared differences between the original and us: deviations.json, by trace and ruling."""

import json
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Final, TypeAlias

from tests.parity.applicability import NOT_PLAYED
from tests.parity.differences import differences
from tests.parity.projection import project
from tests.parity.reference.tell import consult
from tests.parity.rulings import RULINGS
from tests.parity.trace import Trace, load, names

DECLARED: Final = Path(__file__).with_name("deviations.json")

Deviations: TypeAlias = Mapping[str, Mapping[str, list[int]]]
"""By ruling: each difference, with the steps it is met in."""


@cache
def declared() -> Mapping[str, Deviations]:
    """By trace."""
    found: Mapping[str, Deviations] = json.loads(DECLARED.read_bytes())
    return found


def met(trace: Trace) -> Deviations:
    """What each ruling changes in the trace, on top of those before it."""
    found: dict[str, dict[str, list[int]]] = {}
    rulings: list[str] = []
    told, consulted = consult(trace, ())
    before = project(told)
    for ruling in RULINGS:
        rulings.append(ruling)
        if ruling not in consulted:
            continue
        told, consulted = consult(trace, rulings)
        after = project(told)
        if after != before:
            found[ruling] = differences(before, after)
        before = after
    return found


def _write() -> None:
    """Write down what is met, for a person to read in the diff before it is declared."""
    lines = []
    for name in [name for name in names() if name not in NOT_PLAYED]:
        rulings = []
        for ruling, changes in met(load(name)).items():
            texts = [f"   {json.dumps(text, ensure_ascii=False)}: {steps}" for text, steps in changes.items()]
            rulings.append(f'  "{ruling}": {{\n' + ",\n".join(texts) + "\n  }")
        if rulings:
            lines.append(f' "{name}": {{\n' + ",\n".join(rulings) + "\n }")
    DECLARED.write_text("{\n" + ",\n".join(lines) + "\n}\n")


if __name__ == "__main__":
    _write()
