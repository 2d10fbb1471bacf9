"""The reference retells the original: only then may it say what a ruling changes."""

import pytest

from tests.parity.applicability import NOT_RETOLD
from tests.parity.comparison import mismatches
from tests.parity.projection import golden, project, recorded
from tests.parity.reference.tell import tell
from tests.parity.trace import load, names


@pytest.mark.parametrize("name", [name for name in names() if name not in NOT_RETOLD])
def test_without_rulings_it_tells_what_the_original_told(name: str) -> None:
    trace = load(name)
    assert mismatches(project(golden(trace)), project(recorded(tell(trace), trace))) == []


@pytest.mark.parametrize("name", sorted(NOT_RETOLD))
def test_a_trace_that_is_not_retold_really_is_not(name: str) -> None:
    trace = load(name)
    assert mismatches(project(golden(trace)), project(recorded(tell(trace), trace))) != []
