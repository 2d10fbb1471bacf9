import msgspec
import pytest

from tests.parity.tables import table
from vagus.contract.hashing import manifest_hash, sha256_hex, state_hash
from vagus.contract.policy import PolicySet
from vagus.contract.sessions import SessionManifest
from vagus.contract.state import AgentStateVector


class Hashed(msgspec.Struct):
    json_bytes_utf8: str
    sha256_hex: str


class Table(msgspec.Struct):
    manifests: list[Hashed]
    states: list[Hashed]


TABLE = table("sha256_inputs", Table)


class _Policy(msgspec.Struct):
    policy: dict[str, object]


def has_policy(row: Hashed) -> bool:
    """The original's manifest takes any JSON for a policy, ours only a policy (W55)."""
    policy = msgspec.json.decode(row.json_bytes_utf8, type=_Policy).policy
    return set(policy) == set(PolicySet.__struct_fields__)


@pytest.mark.parametrize(
    "row", [row for row in TABLE.manifests if has_policy(row)], ids=lambda row: row.sha256_hex
)
def test_a_manifest_is_hashed_as_in_the_original(row: Hashed):
    manifest = msgspec.json.decode(row.json_bytes_utf8, type=SessionManifest)
    assert manifest_hash(manifest) == row.sha256_hex


@pytest.mark.parametrize("row", TABLE.states, ids=lambda row: row.sha256_hex)
def test_a_state_is_hashed_as_in_the_original(row: Hashed):
    state = msgspec.json.decode(row.json_bytes_utf8, type=AgentStateVector)
    assert msgspec.json.encode(state).decode() == row.json_bytes_utf8
    assert state_hash(state) == row.sha256_hex


def test_sha256_is_over_exactly_these_bytes():
    for row in TABLE.manifests + TABLE.states:
        assert sha256_hex(row.json_bytes_utf8.encode()) == row.sha256_hex


def test_the_default_state_has_the_hash_of_the_original():
    assert (
        state_hash(AgentStateVector()) == "4be2c7fb367a5cca8949c012214e489752e5d1b501eacc63a34b7d583fb2f629"
    )
