import msgspec
import pytest

from tests.parity.tables import table
from vagus.contract.policy import PRESETS, PolicyDecision, PolicySet, evaluate, matches


class Pattern(msgspec.Struct):
    pattern: str
    capability: str
    matches: bool


class Decision(msgspec.Struct):
    requested: list[str]
    decision: PolicyDecision


class Policy(msgspec.Struct):
    name: str
    policy: PolicySet
    decisions: list[Decision]


class Table(msgspec.Struct):
    patterns: list[Pattern]
    policies: list[Policy]


TABLE = table("policy_wildcards", Table)


def test_patterns_match_as_in_the_original():
    found = {(row.pattern, row.capability): matches(row.pattern, row.capability) for row in TABLE.patterns}
    assert found == {(row.pattern, row.capability): row.matches for row in TABLE.patterns}
    assert len(found) > 300


@pytest.mark.parametrize("row", TABLE.policies, ids=lambda row: row.name)
def test_a_policy_decides_as_in_the_original(row: Policy):
    for case in row.decisions:
        assert evaluate(row.policy, case.requested) == case.decision


@pytest.mark.parametrize(
    "row", [row for row in TABLE.policies if row.name in PRESETS], ids=lambda row: row.name
)
def test_a_preset_is_that_of_the_original(row: Policy):
    assert PolicySet.preset(row.name) == row.policy


@pytest.mark.parametrize("capability", ["fs:read:/session/../etc/passwd", "fs:write:/session/artifacts/.."])
def test_n1_a_path_that_climbs_out_matches_nothing_where_the_original_allows_it(capability: str):
    assert evaluate(PRESETS["enterprise"], [capability]).denied == (capability,)
