import struct

import msgspec

from tests.parity.tables import table
from vagus.contract.numbers import shortest, single


class Row(msgspec.Struct):
    bits_hex: str
    json_direct: str
    json_via_value: str


class Table(msgspec.Struct):
    rows: list[Row]


ROWS = table("f32_text", Table).rows


def value(row: Row) -> float:
    (found,) = struct.unpack(">f", bytes.fromhex(row.bits_hex))
    return found


def test_a_single_is_printed_with_the_digits_of_the_original():
    printed = {row.bits_hex: msgspec.json.encode(shortest(value(row))).decode() for row in ROWS}
    assert printed == {row.bits_hex: row.json_direct for row in ROWS}


def test_a_widened_single_is_printed_with_the_digits_of_the_original():
    printed = {row.bits_hex: msgspec.json.encode(single(value(row))).decode() for row in ROWS}
    assert printed == {row.bits_hex: row.json_via_value for row in ROWS}
