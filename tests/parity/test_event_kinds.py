import json

import msgspec
import pytest

from tests.parity.tables import table
from vagus.contract.codec import decode_kind, encode_kind
from vagus.contract.events import BY_TYPE, Unknown


class Row(msgspec.Struct):
    input_text: str
    output_text: str


class Table(msgspec.Struct):
    rows: list[Row]


ROWS = table("event_kind_roundtrip", Table).rows

LENIENT = [row for row in ROWS if '"StateEstimated"' in row.input_text and '"budget"' not in row.input_text]
"""A state vector without its budget: here a missing member of a vector is read as its default."""


def disguised(row: Row) -> bool:
    """Whether the original turned what it could not read into a custom event."""
    return '"type":"Custom"' in row.output_text and json.loads(row.input_text) != json.loads(row.output_text)


def name(row: Row) -> str:
    return row.input_text[:60]


@pytest.mark.parametrize("row", [row for row in ROWS if not disguised(row)], ids=name)
def test_a_known_kind_is_written_as_the_original_writes_it(row: Row):
    kind = decode_kind(row.input_text.encode())
    assert not isinstance(kind, Unknown)
    assert encode_kind(kind).decode() == row.output_text
    assert decode_kind(encode_kind(kind)) == kind


@pytest.mark.parametrize("row", [row for row in ROWS if disguised(row) and row not in LENIENT], ids=name)
def test_n13_what_the_original_disguises_survives_byte_for_byte(row: Row):
    kind = decode_kind(row.input_text.encode())
    assert isinstance(kind, Unknown)
    assert encode_kind(kind).decode() == row.input_text
    assert kind.type == json.loads(row.output_text)["event_type"]


@pytest.mark.parametrize("row", LENIENT, ids=name)
def test_a_state_vector_without_a_member_takes_its_default(row: Row):
    kind = decode_kind(row.input_text.encode())
    assert isinstance(kind, BY_TYPE["StateEstimated"])


def test_the_table_meets_every_kind():
    met = {decode_kind(row.input_text.encode()).type for row in ROWS}
    assert set(BY_TYPE) <= met
