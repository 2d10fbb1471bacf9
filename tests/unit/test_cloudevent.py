"""Events as CloudEvents, read back by the official library and by the specification's own rules."""

import json
import re
import sys
from datetime import UTC, datetime
from typing import Any

import pytest
from cloudevents.core.bindings.http import HTTPMessage, from_binary, from_structured
from cloudevents.core.formats.json import JSONFormat
from msgspec.structs import replace

from tests.kit.events import records
from vagus.contract.codec import seal
from vagus.contract.errors import Malformed, SettingsError
from vagus.contract.events import ErrorRaised, EventKind, EventRecord, Unknown
from vagus.contract.schemas import uri
from vagus.runtime import cloudevent

TRACE = {"trace_id": "0af7651916cd43dd8448eb211c80319c", "span_id": "b7ad6b7169203331"}


def line(kind: EventKind, **fields: Any) -> tuple[EventRecord, bytes]:
    (record,) = records(kind)
    sealed = seal([replace(record, **fields)], "")
    return sealed.records[0], sealed.lines[0]


def read(mode: str, given: bytes) -> Any:
    headers, body = getattr(cloudevent, mode)(given)
    reader = {"structured": from_structured, "binary": from_binary}[mode]
    return reader(HTTPMessage(headers=headers, body=body), JSONFormat())


@pytest.mark.parametrize("mode", ["structured", "binary"])
def test_the_official_library_reads_what_is_written(mode: str) -> None:
    record, given = line(ErrorRaised(message="ü \n"), timestamp="2026-11-23T10:00:00.123456789Z", **TRACE)
    event = read(mode, given)
    assert event.get_id() == record.event_id
    assert event.get_type() == "vagus.ErrorRaised"
    assert event.get_source() == f"urn:vagus:{record.session_id}:{record.branch_id}"
    assert event.get_subject() == f"{record.session_id}/{record.branch_id}"
    assert event.get_time() == datetime(2026, 11, 23, 10, 0, 0, 123456, tzinfo=UTC)
    assert event.get_datacontenttype() == "application/json"
    assert event.get_dataschema() == uri("EventRecord")
    assert event.get_extension("sequence") == "00000000000000000001"
    assert event.get_extension("session") == record.session_id
    assert event.get_extension("branch") == record.branch_id
    assert event.get_extension("traceparent") == f"00-{TRACE['trace_id']}-{TRACE['span_id']}-01"
    assert event.get_data() == json.loads(given)


def test_a_binary_one_has_the_line_byte_for_byte() -> None:
    _, given = line(ErrorRaised(message="x"))
    headers, body = cloudevent.binary(given)
    assert body == given
    assert headers["content-type"] == "application/json"
    for name in ("ce-id", "ce-source", "ce-type", "ce-specversion"):
        assert headers[name].isascii()


def test_a_structured_one_is_one_line_that_can_stand_in_a_file() -> None:
    _, given = line(ErrorRaised(message="two\nlines"))
    headers, body = cloudevent.structured(given)
    assert headers["content-type"] == "application/cloudevents+json"
    assert b"\n" not in body
    for name, value in json.loads(body).items():
        assert re.fullmatch("[a-z0-9]{1,20}", name)
        assert value is not None


def test_without_a_trace_there_is_no_traceparent() -> None:
    _, given = line(ErrorRaised(message="x"))
    assert read("structured", given).get_extension("traceparent") is None
    assert "ce-traceparent" not in cloudevent.binary(given)[0]


@pytest.mark.parametrize("mode", ["structured", "binary"])
def test_a_kind_that_nobody_knows_is_an_event_as_any_other(mode: str) -> None:
    _, given = line(Unknown(b'{"type":"Fr\xc3\xbchst\xc3\xbcck","deep":[{}]}'))
    event = read(mode, given)
    assert event.get_type() == "vagus.Frühstück"
    assert event.get_data()["kind"]["deep"] == [{}]


@pytest.mark.parametrize("mode", ["structured", "binary"])
@pytest.mark.parametrize("given", [b"", b"{}", b"[1]", b"\xff"])
def test_what_is_no_event_is_refused(mode: str, given: bytes) -> None:
    with pytest.raises(Malformed):
        getattr(cloudevent, mode)(given)


def test_a_missing_library_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    cloudevent.available()
    monkeypatch.setitem(sys.modules, "cloudevents.core", None)
    with pytest.raises(SettingsError, match=r"pip install 'vagus\[cloudevents\]'"):
        cloudevent.available()
