import msgspec
import pytest

from vagus.contract.codec import decode_kind, decode_record, encode_kind, encode_record
from vagus.contract.events import (
    BY_TYPE,
    CheckpointRestored,
    ContextCompacted,
    Custom,
    ErrorRaised,
    HiveSelectionMade,
    Message,
    ModeChanged,
    PolicyEvaluated,
    RunFinished,
    SessionClosed,
    SessionResumed,
    StateEstimated,
    StatePatchCommitted,
    ToolCallStarted,
    Unknown,
    UserMessage,
    is_extension,
)
from vagus.contract.models import TokenUsage
from vagus.contract.policy import PolicyDecisionKind
from vagus.contract.state import AgentStateVector, OperatingMode

MINIMAL = (
    b'{"event_id":"e","session_id":"s","branch_id":"main","sequence":1,"timestamp":"2026-01-01T00:00:00Z",'
    b'"kind":{"type":"UserMessage","content":"hi"}}'
)


def test_there_are_the_71_kinds_of_the_original():
    assert len(BY_TYPE) == 71


def test_a_kind_knows_its_name_on_the_wire():
    assert Message(role="user", content="hi").type == "Message"


def test_absent_fields_are_not_written():
    assert encode_kind(ToolCallStarted(tool_run_id="r", tool_name="t")) == (
        b'{"type":"ToolCallStarted","tool_run_id":"r","tool_name":"t"}'
    )


def test_free_form_objects_are_written_with_sorted_keys():
    kind = Custom(event_type="x", data={"b": {"z": 1, "a": 2}, "a": 3, "é": 4})
    assert (
        encode_kind(kind)
        == '{"type":"Custom","event_type":"x","data":{"a":3,"b":{"a":2,"z":1},"é":4}}'.encode()
    )


def test_a_keyword_is_no_obstacle_to_a_field():
    kind = ModeChanged(from_=OperatingMode.EXPLORE, to=OperatingMode.SLEEP, reason="r")
    assert encode_kind(kind) == b'{"type":"ModeChanged","from":"explore","to":"sleep","reason":"r"}'


def test_token_usage_is_written_whole():
    kind = RunFinished(reason="completed", total_iterations=1, usage=TokenUsage(prompt_tokens=7))
    assert b'"usage":{"prompt_tokens":7,"completion_tokens":0,"total_tokens":0}' in encode_kind(kind)


def test_a_state_patch_is_read_with_its_operations():
    text = (
        b'{"type":"StatePatchCommitted","new_version":2,"patch":{"base_version":1,"ops":['
        b'{"op":"set","path":"/a","value":{"b":1}},{"op":"merge","path":"/b","object":{"c":1}},'
        b'{"op":"append","path":"/c","values":[1,2]},{"op":"tombstone","path":"/d","reason":"r"},'
        b'{"op":"set_ref","path":"/e","blob_ref":{"blob_id":"x","content_type":"text/plain"}}],'
        b'"provenance":[{"type":"event","event_id":"e"},{"type":"blob","blob_id":"x"}]}}'
    )
    kind = decode_kind(text)
    assert isinstance(kind, StatePatchCommitted)
    assert encode_kind(kind) == text


def test_a_score_is_held_in_single_precision():
    kind = HiveSelectionMade(
        hive_task_id="h", winning_session_id="s", winning_score=0.123456789, generation=1
    )
    assert kind.winning_score == 0.12345679


def test_a_state_vector_is_held_in_single_precision():
    kind = StateEstimated(
        state=AgentStateVector(progress=0.1 + 0.2, uncertainty=1), mode=OperatingMode.EXECUTE
    )
    assert b'"progress":0.3,"uncertainty":1.0' in encode_kind(kind)


@pytest.mark.parametrize(
    "text",
    [
        b'{"type":"KnowledgeSearched","query":"q","result_count":1}',
        b'{"type":"StepStarted","index":-1}',
        b'{"type":"StepStarted","index":4294967296}',
        b'{"type":"VoiceSessionStarted","voice_session_id":"v","adapter":"a","model":"m","sample_rate_hz":1,"channels":256}',
        b'{"type":"PhaseEntered","phase":"nap"}',
        b'{ "a" : 1, "type" : "FutureFeature" }',
    ],
)
def test_a_kind_that_cannot_be_read_is_kept_as_it_is(text: bytes):
    kind = decode_kind(text)
    assert isinstance(kind, Unknown)
    assert encode_kind(kind) == text
    assert kind.type == msgspec.json.decode(text)["type"]


@pytest.mark.parametrize("text", [b"null", b"[]", b"5", b'"UserMessage"', b"{}", b'{"type":5}'])
def test_a_kind_without_a_type_is_called_unknown(text: bytes):
    assert decode_kind(text).type == "Unknown"


def test_unknown_kinds_are_equal_when_their_text_is():
    assert Unknown(b"{}") == Unknown(b"{}")
    assert len({Unknown(b"{}"), Unknown(b"{}"), Unknown(b"[]")}) == 2
    assert Unknown(b"{}") != UserMessage(content="{}")


def test_an_unknown_kind_stays_on_one_line():
    kind = decode_kind(b'{\n  "type": "FutureFeature"\n}')
    assert encode_kind(kind) == b'{   "type": "FutureFeature" }'


def test_a_minimal_record_is_read_with_the_defaults_of_the_original():
    assert encode_record(decode_record(MINIMAL)) == (
        b'{"event_id":"e","session_id":"s","agent_id":"","branch_id":"main","sequence":1,'
        b'"timestamp":"2026-01-01T00:00:00Z","actor":{"type":"system","component":"arcan-daemon"},'
        b'"schema":{"name":"aios-protocol","version":"0.1.0"},"kind":{"type":"UserMessage","content":"hi"}}'
    )


def test_n14_a_record_without_an_agent_gets_none_made_up():
    assert decode_record(MINIMAL).agent_id == decode_record(MINIMAL).agent_id == ""


@pytest.mark.parametrize(
    "kind",
    [
        PolicyEvaluated(tool_name="t", decision=PolicyDecisionKind.ALLOW),
        SessionResumed(),
        SessionClosed(reason="r"),
        CheckpointRestored(checkpoint_id="c", restored_to_seq=1),
        ContextCompacted(dropped_count=1, tokens_before=2, tokens_after=1),
        Custom(event_type="vagus.policy_set", data={}),
    ],
    ids=lambda kind: kind.type,
)
def test_what_the_original_never_emits_is_an_extension(kind):
    assert is_extension(kind)


@pytest.mark.parametrize(
    "kind",
    [
        Custom(event_type="ObservationExtracted", data={}),
        Custom(event_type="loop_detection.warning", data={}),
        Custom(event_type="vagusish", data={}),
        ErrorRaised(message="m"),
        UserMessage(content="c"),
        Unknown(b'{"type":"FutureFeature"}'),
    ],
    ids=lambda kind: kind.type,
)
def test_what_the_original_emits_or_others_record_is_none(kind):
    assert not is_extension(kind)
