import msgspec
import pytest
from blake3 import blake3

from tests.kit.events import records
from vagus.contract import limits
from vagus.contract.codec import (
    chain_digest,
    commit_headers,
    decode_commit,
    decode_kind,
    decode_record,
    encode_record,
    line_digest,
    seal,
    split_lines,
    verify,
)
from vagus.contract.errors import Malformed
from vagus.contract.events import Custom, Message, PhaseEntered, Unknown, UserMessage
from vagus.contract.state import LoopPhase

PARENT = "blake3:" + "0" * 64
EVENTS = records(
    PhaseEntered(phase=LoopPhase.PERCEIVE),
    Message(role="assistant", content='a "quoted" ,"kind": and a\nnewline'),
    Custom(event_type="x", data={"kind": {"digest": "blake3:"}, "digest": "blake3:" + "1" * 64}),
)


def nested(levels: int) -> object:
    value: object = 1
    for _ in range(levels):
        value = [value]
    return value


def test_a_line_is_the_record_in_the_order_of_its_fields():
    (record,) = records(UserMessage(content="hi"))
    assert encode_record(
        msgspec.structs.replace(record, causation_id="c", trace_id="t", span_id="p", digest="d")
    ) == (
        b'{"event_id":"00000000-0000-4000-8000-000000000001","session_id":"s",'
        b'"agent_id":"aaaaaaaa-0000-4000-8000-000000000000","branch_id":"main","sequence":1,'
        b'"timestamp":"2026-04-05T12:26:01.123456789Z","actor":{"type":"system","component":"vagus-kernel"},'
        b'"schema":{"name":"aios-protocol","version":"0.1.0"},"causation_id":"c",'
        b'"correlation_id":"0c0c0c0c-0000-4000-8000-000000000000","trace_id":"t","span_id":"p","digest":"d",'
        b'"kind":{"type":"UserMessage","content":"hi"}}'
    )


def test_a_sealed_line_is_the_record_as_it_would_be_encoded():
    sealed = seal(EVENTS, PARENT)
    assert list(sealed.lines) == [encode_record(record) for record in sealed.records]
    assert sealed.payload == b"".join(line + b"\n" for line in sealed.lines)
    assert sealed.digest == sealed.records[-1].digest == line_digest(sealed.lines[-1])


def test_a_digest_covers_the_digest_before_and_the_line_without_its_own():
    previous = PARENT
    for line, event in zip(seal(EVENTS, PARENT).lines, EVENTS, strict=True):
        digest = "blake3:" + blake3(previous.encode() + b"\n" + encode_record(event)).hexdigest()
        assert line_digest(line) == digest
        assert line.replace(b'"digest":"%b",' % digest.encode(), b"") == encode_record(event)
        assert chain_digest(previous, line) == chain_digest(previous, line + b"\n") == digest
        assert chain_digest(previous, encode_record(event)) == digest
        previous = digest


def test_sealing_anew_forgets_the_former_digests():
    assert seal(seal(EVENTS, PARENT).records, "") == seal(EVENTS, "")


def test_a_commit_has_at_least_one_event():
    with pytest.raises(ValueError, match="at least one event"):
        seal([], "")


def test_a_commit_reads_back_as_it_was_sealed():
    sealed = seal(EVENTS, "")
    assert tuple(decode_commit(sealed.payload)) == sealed.records
    assert tuple(split_lines(sealed.payload)) == sealed.lines
    assert [decode_record(line + b"\n") for line in sealed.lines] == list(sealed.records)


def test_one_unknown_kind_does_not_hide_the_other_events_of_its_commit():
    payload = seal(EVENTS, "").payload.replace(b'"type":"PhaseEntered"', b'"type":"PhaseEvaded"')
    unknown, *others = decode_commit(payload)
    assert unknown.kind == Unknown(b'{"type":"PhaseEvaded","phase":"perceive"}')
    assert [event.kind for event in others] == [event.kind for event in EVENTS[1:]]
    assert encode_record(unknown) == split_lines(payload)[0]


@pytest.mark.parametrize(
    "line",
    [
        b"",
        b"null",
        b"not JSON",
        b'{"event_id":"e"}',
        encode_record(EVENTS[0]).replace(b'"sequence":1', b'"sequence":"1"'),
        encode_record(EVENTS[0]).replace(b'"kind":', b'"mind":'),
        encode_record(EVENTS[0]).replace(b'"system"', b'"robot"'),
        encode_record(EVENTS[0])[:-1],
        encode_record(EVENTS[0]) + b"}",
        encode_record(EVENTS[0])[:-1] + b',"x":' + b"[" * 5000 + b"]" * 5000 + b"}",
    ],
    ids=[
        "empty",
        "null",
        "text",
        "few fields",
        "sequence",
        "no kind",
        "actor",
        "torn",
        "too long",
        "too deep",
    ],
)
def test_what_is_not_a_record_is_malformed(line: bytes):
    with pytest.raises(Malformed, match="not an event record"):
        decode_record(line)


def test_what_is_not_json_is_no_kind():
    for text in (b"", b"{", b'{"type":"X"} {}', b'{"type":"X","text":"\xff"}'):
        with pytest.raises(Malformed, match="not an event kind"):
            decode_kind(text)


@pytest.mark.parametrize(
    "value", [object(), "\ud800", {1: 2}, 10**5000], ids=["object", "surrogate", "key", "number"]
)
def test_what_cannot_be_json_is_refused_before_it_is_written(value: object):
    with pytest.raises(Malformed, match="cannot be written as JSON"):
        seal(records(Custom(event_type="x", data=value)), "")


def test_what_is_nested_too_deep_to_be_read_is_refused_before_it_is_written():
    kind = Custom(event_type="x", data={"padding": "p" * 640, "value": nested(limits.JSON_DEPTH)})
    with pytest.raises(Malformed, match="nested deeper than 128 levels"):
        seal(records(kind), "")
    with pytest.raises(Malformed, match="nested deeper than 128 levels"):
        decode_kind(msgspec.json.encode(kind))


def test_the_chain_of_a_branch_goes_through_its_commits():
    first, second = seal(EVENTS[:2], PARENT), seal(EVENTS[2:], seal(EVENTS[:2], PARENT).digest)
    assert verify(split_lines(first.payload + second.payload), PARENT) == second.digest


def test_a_broken_chain_names_the_first_bad_event():
    lines = list(seal(EVENTS, PARENT).lines)
    lines[1] = lines[1].replace(b"quoted", b"quoteD")
    with pytest.raises(Malformed, match=r"000000000002 \(sequence 2 of main\)"):
        verify(lines, PARENT)


def test_a_line_that_is_missing_moved_or_unsigned_breaks_the_chain():
    one, two, three = seal(EVENTS, PARENT).lines
    unsigned = encode_record(EVENTS[1])
    for lines in ([one, three], [two, one, three], [one, unsigned, three], [two, three], [b"torn", two]):
        with pytest.raises(Malformed, match="broken chain at"):
            verify(lines, PARENT)
    with pytest.raises(Malformed, match="broken chain at"):
        verify([one, two, three], "")


def test_a_digest_elsewhere_in_the_line_is_not_the_digest_of_the_line():
    assert line_digest(encode_record(EVENTS[2])) is None


def test_the_headers_of_a_commit_name_what_is_in_it():
    sealed = seal(records(*(event.kind for event in EVENTS), first=7), "")
    assert commit_headers(sealed, "00-trace-span-01") == {
        "Nats-Msg-Id": "00000000-0000-4000-8000-000000000009",
        "Vagus-First": "7",
        "Vagus-Last": "9",
        "Vagus-Kinds": "PhaseEntered,Message,Custom",
        "traceparent": "00-trace-span-01",
    }
    assert "traceparent" not in commit_headers(sealed)


def test_the_name_of_an_unknown_kind_cannot_forge_a_header():
    kind = decode_kind(rb'{"type":"X\r\nNats-Msg-Id: forged"}')
    assert commit_headers(seal(records(kind), ""))["Vagus-Kinds"] == "Unknown"
