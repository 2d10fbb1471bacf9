import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.property.strategies import JSON, KNOWN, UNKNOWN, records
from vagus.contract.codec import (
    decode_commit,
    decode_kind,
    decode_record,
    encode_kind,
    encode_record,
    seal,
    split_lines,
    verify,
)
from vagus.contract.errors import Malformed
from vagus.contract.events import EventKind, EventRecord, Kind, Unknown
from vagus.contract.json import depth

COMMITS = st.lists(records(KNOWN | UNKNOWN), min_size=1, max_size=4)
DIGESTS = st.just("") | st.binary(min_size=32, max_size=32).map(lambda raw: f"blake3:{raw.hex()}")


@given(KNOWN)
def test_a_known_kind_reads_back_as_it_was_written(kind: Kind):
    text = encode_kind(kind)
    assert decode_kind(text) == kind
    assert encode_kind(decode_kind(text)) == text


@given(UNKNOWN)
def test_an_unknown_kind_survives_byte_for_byte(kind: EventKind):
    assert decode_kind(encode_kind(kind)) == kind


@given(JSON, st.sampled_from([(",", ":"), (", ", ": "), (" ,", " :\t")]))
def test_any_json_for_a_kind_survives_byte_for_byte(value: object, separators: tuple[str, str]):
    text = json.dumps(value, separators=separators).encode()
    kind = decode_kind(text)
    assert isinstance(kind, Unknown)
    assert encode_kind(kind) == text


@given(records(KNOWN | UNKNOWN))
def test_a_record_reads_back_as_it_was_written(record: EventRecord):
    line = encode_record(record)
    assert b"\n" not in line
    assert decode_record(line) == record
    assert encode_record(decode_record(line)) == line


@given(COMMITS, DIGESTS)
def test_a_commit_reads_back_and_its_chain_holds(events: list[EventRecord], previous: str):
    sealed = seal(events, previous)
    assert tuple(decode_commit(sealed.payload)) == sealed.records
    assert tuple(map(encode_record, sealed.records)) == sealed.lines
    assert verify(split_lines(sealed.payload), previous) == sealed.digest


@given(COMMITS, DIGESTS, st.data())
def test_any_flipped_byte_breaks_the_chain(events: list[EventRecord], previous: str, data: st.DataObject):
    payload = bytearray(seal(events, previous).payload)
    place = data.draw(st.integers(0, len(payload) - 1), label="place")
    payload[place] ^= data.draw(st.integers(1, 255), label="flip")
    with pytest.raises(Malformed, match="broken chain"):
        verify(split_lines(bytes(payload)), previous)


@given(COMMITS, DIGESTS, DIGESTS)
def test_a_chain_holds_only_after_its_own_past(events: list[EventRecord], previous: str, other: str):
    lines = seal(events, previous).lines
    if previous != other:
        with pytest.raises(Malformed, match="broken chain"):
            verify(lines, other)


@given(st.lists(records(KNOWN), min_size=2, max_size=4), st.data())
def test_a_lost_line_breaks_the_chain_unless_it_was_the_last(events: list[EventRecord], data: st.DataObject):
    lines = list(seal(events, "").lines)
    del lines[data.draw(st.integers(0, len(lines) - 2))]
    with pytest.raises(Malformed, match="broken chain"):
        verify(lines, "")


def nesting(value: object) -> int:
    match value:
        case dict():
            return 1 + max(map(nesting, value.values()), default=0)
        case list():
            return 1 + max(map(nesting, value), default=0)
        case _:
            return 0


@given(JSON, st.booleans())
def test_the_depth_of_a_text_is_that_of_its_value(value: object, ascii_only: bool):
    assert depth(json.dumps(value, ensure_ascii=ascii_only).encode()) == nesting(value)
