import math

import msgspec
import pytest

from tests.parity.tables import table
from vagus.contract.hashing import blake3_hex, call_signature
from vagus.contract.json import compact


class Row(msgspec.Struct):
    tool_name: str
    input_text: str
    hashed_bytes_utf8: str | None = None
    blake3_hex: str | None = None
    parse_error: str | None = None


class Table(msgspec.Struct):
    rows: list[Row]


ROWS = table("loop_signatures", Table).rows
NEGATIVE_ZERO = "-0"
"""The original reads this integer as the float -0.0, here it is the integer 0."""


def hashed(row: Row) -> object:
    return msgspec.json.decode((row.hashed_bytes_utf8 or "").encode(), type=dict[str, object])["input"]


def misread(row: Row) -> bool:
    """Whether the original's reader missed the nearest double: it rounds 16 and 17 digits in haste."""
    return (
        isinstance(hashed(row), float)
        and row.input_text != NEGATIVE_ZERO
        and hashed(row) != float(row.input_text)
    )


READABLE = [row for row in ROWS if row.parse_error is None]
EXACT = [row for row in READABLE if row.input_text != NEGATIVE_ZERO and not misread(row)]


def test_signatures_are_those_of_the_original():
    made = {
        (row.tool_name, row.input_text): call_signature(row.tool_name, msgspec.json.decode(row.input_text))
        for row in EXACT
    }
    assert made == {(row.tool_name, row.input_text): row.blake3_hex for row in EXACT}
    assert len(made) >= 40


def test_the_hashed_text_is_that_of_the_original():
    for row in EXACT:
        text = compact({"input": msgspec.json.decode(row.input_text), "tool_name": row.tool_name})
        assert text.decode() == row.hashed_bytes_utf8
        assert blake3_hex(text) == row.blake3_hex


def test_the_numbers_that_the_original_misreads_are_read_right():
    rows = [row for row in READABLE if misread(row)]
    assert rows
    for row in rows:
        ours, theirs = float(row.input_text), hashed(row)
        assert theirs in (math.nextafter(ours, math.inf), math.nextafter(ours, -math.inf))
        assert msgspec.json.decode(row.input_text) == ours


@pytest.mark.parametrize("row", [row for row in ROWS if row.parse_error], ids=lambda row: row.input_text)
def test_what_the_original_cannot_read_is_not_read(row: Row):
    with pytest.raises(msgspec.DecodeError):
        msgspec.json.decode(row.input_text)


def test_the_order_of_the_keys_does_not_matter():
    signature = "c090ad61fe2e577c2c5abed91f2cdf63ba4eda5ce949151716b27a0930f28efe"
    assert call_signature("same", {"b": 2, "a": 1}) == call_signature("same", {"a": 1, "b": 2}) == signature


def test_one_and_one_point_zero_are_different_calls():
    assert call_signature("t", {"n": 1}) != call_signature("t", {"n": 1.0})
