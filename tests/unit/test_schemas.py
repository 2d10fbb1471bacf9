"""The schemas say what the types read: no less, and nothing else."""

import json
from typing import Any, get_args

import msgspec
import pytest
from jsonschema import Draft202012Validator
from jsonschema.exceptions import ValidationError

from tests.kit import documents
from tests.kit.command_line import vagus
from vagus.contract import schemas
from vagus.contract.commands import BODY, Reply
from vagus.contract.errors import NotFound
from vagus.contract.events import BY_TYPE, catalogue
from vagus.contract.extensions import KINDS

NAMES = [entry.name for entry in schemas.entries()]
EXAMPLES = documents.blocks("docs/wire.md", "json")
RECORD = json.loads(next(block.text for block in EXAMPLES if block.title == "EventRecord").splitlines()[0])
TICK = json.loads(next(block.text for block in EXAMPLES if block.title == "Command"))
VALIDATORS: dict[str, Draft202012Validator] = {}


def check(name: str, value: Any) -> None:
    if name not in VALIDATORS:
        VALIDATORS[name] = Draft202012Validator(schemas.schema(name))
    VALIDATORS[name].validate(value)


@pytest.mark.parametrize("name", NAMES)
def test_every_schema_is_one_and_stands_alone(name: str) -> None:
    schema = schemas.schema(name)
    Draft202012Validator.check_schema(schema)
    assert schema["$id"] == schemas.uri(name)
    assert schema["$schema"] == schemas.DIALECT
    defined = {f"#/$defs/{one}" for one in schema.get("$defs", {})}
    assert set(references(schema)) == defined


def references(value: Any) -> list[str]:
    if isinstance(value, dict):
        own = [value["$ref"]] if "$ref" in value else []
        return own + [found for one in value.values() for found in references(one)]
    return [found for one in value for found in references(one)] if isinstance(value, list) else []


def test_all_kinds_extensions_and_commands_have_a_schema() -> None:
    assert len(BY_TYPE) == 71
    assert set(NAMES) >= set(BY_TYPE) | set(KINDS) | set(BODY)
    assert len(NAMES) == len(set(NAMES))
    assert {one.__name__ for one in get_args(catalogue.KnownKind)} <= set(NAMES)


@pytest.mark.parametrize("block", EXAMPLES, ids=[f"{n}-{block.title}" for n, block in enumerate(EXAMPLES)])
def test_every_example_of_the_wire_passes(block: documents.Block) -> None:
    texts = block.text.splitlines() if block.title == "EventRecord" else [block.text]
    for text in texts:
        check(block.title, json.loads(text))


def test_fields_that_nobody_knows_pass() -> None:
    check("EventRecord", RECORD | {"tomorrow": [1], "kind": RECORD["kind"] | {"tomorrow": {}}})
    check("Command", TICK | {"tomorrow": [1], "tick": TICK["tick"] | {"tomorrow": None}})


def test_a_kind_that_nobody_knows_passes() -> None:
    check("EventRecord", RECORD | {"kind": {"type": "FromTomorrow", "deep": [{}]}})


@pytest.mark.parametrize(
    "kind",
    [
        {},
        {"type": 1},
        {"type": "SessionCreated"},
        {"type": "ToolCallRequested", "call_id": 1, "tool_name": "t", "arguments": {}},
        {"type": "Custom", "event_type": "vagus.call_refused", "data": {"call_id": "c"}},
        {"type": "Heartbeat", "summary": "s", "checkpoint_id": 3},
    ],
    ids=lambda kind: str(kind.get("event_type", kind.get("type"))),
)
def test_a_known_kind_without_its_fields_does_not_pass(kind: Any) -> None:
    with pytest.raises(ValidationError):
        check("EventRecord", RECORD | {"kind": kind})


def test_a_custom_kind_of_others_has_any_data() -> None:
    check("Custom", {"type": "Custom", "event_type": "house.rule", "data": 3})


@pytest.mark.parametrize(
    ("change", "value"),
    [
        ("session_id", "no dots."),
        ("session_id", "a\n"),
        ("command_id", ""),
        ("type", "Guess"),
        ("tick", None),
    ],
)
def test_a_command_that_would_be_refused_does_not_pass(change: str, value: Any) -> None:
    with pytest.raises(ValidationError):
        check("Command", TICK | {change: value})


@pytest.mark.parametrize("reply", [{}, {"ok": 1, "error": {"type": "Busy", "message": "later"}}])
def test_a_reply_holds_one_of_ok_and_error(reply: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        check("Reply", {"command_id": "c"} | reply)


def test_the_schema_of_a_reply_that_is_made_by_hand_has_its_fields() -> None:
    schema: Any = schemas.schema("Reply")
    assert list(schema["properties"]) == list(Reply.__struct_fields__)


def test_the_verb_lists_and_prints_schemas() -> None:
    listed = vagus("schema", "--list", "--json")
    assert [entry["name"] for entry in listed.json] == NAMES
    assert vagus("schema", "--json").out == listed.out
    assert "ToolCallRequested" in vagus("schema").out
    assert vagus("schema", "Verdict", "--json").json == schemas.schema("Verdict")
    assert json.loads(vagus("schema", "Verdict").out) == schemas.schema("Verdict")


def test_a_schema_that_is_not_there_is_an_error_in_one_line() -> None:
    with pytest.raises(NotFound):
        schemas.schema("Nothing")
    ran = vagus("schema", "Nothing", "--json")
    assert (ran.code, ran.error["type"]) == (1, "NotFound")
    assert vagus("schema", "Verdict", "--list").code == 2


def test_defaults_are_plain_json() -> None:
    for name in NAMES:
        assert msgspec.json.decode(msgspec.json.encode(schemas.schema(name))) == schemas.schema(name)
