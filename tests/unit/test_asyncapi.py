"""docs/asyncapi.yaml is what the contract says, and nothing in it points into the void."""

import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from jsonschema import Draft7Validator

from tests.architecture.sources import ROOT
from tests.kit.command_line import vagus
from vagus.contract import streams
from vagus.contract.asyncapi import document
from vagus.contract.messages import Role
from vagus.contract.subjects import Subjects

FILE: Path = ROOT / "docs/asyncapi.yaml"
DOCUMENT: Any = yaml.safe_load(FILE.read_text())
CHANNELS: dict[str, Any] = DOCUMENT["channels"]
OPERATIONS: dict[str, Any] = DOCUMENT["operations"]


def test_the_committed_document_is_what_the_contract_says(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("VAGUS_ROOT_SUBJECT", raising=False)
    same = vagus("schema", "--asyncapi").out == FILE.read_text()
    assert same, "the wire has changed: vagus schema --asyncapi > docs/asyncapi.yaml"
    assert vagus("schema", "--asyncapi", "--json").json == DOCUMENT


def test_the_root_token_is_in_every_address() -> None:
    other: Any = document(Subjects(root="other"))
    for channel in other["channels"].values():
        assert channel["address"] is None or channel["address"].startswith(("other.", "$KV.OTHER_"))


def test_it_is_an_asyncapi_3_document() -> None:
    assert DOCUMENT["asyncapi"] == "3.0.0"
    assert {"title", "version"} <= set(DOCUMENT["info"])
    for server in DOCUMENT["servers"].values():
        assert {"host", "protocol"} <= set(server)
    known = {"asyncapi", "info", "defaultContentType", "servers", "channels", "operations", "components"}
    assert {name for name in DOCUMENT if not name.startswith("x-")} == known


def resolve(reference: str) -> Any:
    found = DOCUMENT
    assert reference.startswith("#/")
    for step in reference[2:].split("/"):
        found = found[step]
    return found


def references(value: Any) -> list[str]:
    if isinstance(value, dict):
        own = [value["$ref"]] if isinstance(value.get("$ref"), str) else []
        return own + [found for one in value.values() for found in references(one)]
    return [found for one in value for found in references(one)] if isinstance(value, list) else []


def test_every_reference_leads_somewhere_and_every_message_is_used() -> None:
    found = set(references(DOCUMENT))
    for reference in found:
        assert isinstance(resolve(reference), dict), reference
    for name in DOCUMENT["components"]["messages"]:
        assert f"#/components/messages/{name}" in found
    for name in CHANNELS:
        assert f"#/channels/{name}" in found


def test_the_parameters_of_an_address_are_told() -> None:
    for name, channel in CHANNELS.items():
        asked = set(re.findall(r"{(\w+)}", channel["address"] or ""))
        assert asked == set(channel.get("parameters", {})), name


def test_every_operation_sends_or_receives_on_a_channel() -> None:
    for name, operation in OPERATIONS.items():
        (tag,) = operation["tags"]
        channel = operation["channel"]["$ref"].removeprefix("#/channels/")
        assert name == f"{tag['name']}-{operation['action']}-{channel}"
        assert operation["action"] in ("send", "receive")
        reply = operation.get("reply", {})
        match reply.get("channel", {}).get("$ref"):
            case "#/channels/reply":
                assert reply["address"]["location"] == "$message.payload#/reply_to"
            case other:  # NATS' own reply subject stands nowhere in the message
                assert (other, "address" in reply) in {("#/channels/receipt", False), (None, False)}


def test_every_message_has_a_payload_and_headers_that_are_schemas() -> None:
    for message in DOCUMENT["components"]["messages"].values():
        assert {"name", "contentType", "payload"} <= set(message)
        headers = message.get("headers")
        if headers is not None:
            assert set(headers["required"]) <= set(headers["properties"])
            Draft7Validator.check_schema(headers)


def test_its_schemas_are_such_as_asyncapi_takes_without_being_told() -> None:
    for name, schema in DOCUMENT["components"]["schemas"].items():
        assert re.fullmatch(r"[\w.-]+", name)
        Draft7Validator.check_schema(schema)


def covered(subject: str) -> bool:
    """Whether a channel's address stands for the subject of a stream."""
    shapes = [re.sub(r"{\w+}", "*", channel["address"] or "") for channel in CHANNELS.values()]
    pattern = re.compile(re.escape(subject).replace(r"\*", r"[^.]+").replace(">", ".+"))
    return any(pattern.fullmatch(shape) for shape in shapes)


def test_every_subject_of_every_stream_has_a_channel() -> None:
    subjects = Subjects()
    for spec in (
        streams.session_log(subjects, "*"),
        *streams.queues(subjects),
        streams.archive(subjects),
    ):
        for subject in spec.subjects:
            assert covered(subject), subject
        told = [
            one
            for one in DOCUMENT["x-streams"]
            if one["name"] in (spec.name, subjects.session_stream("{session}"))
        ]
        assert told, spec.name
    assert {role.value for role in Role} <= set(CHANNELS)
    assert {spec.name for spec in streams.buckets(subjects)} < {one["name"] for one in DOCUMENT["x-buckets"]}


def test_a_channels_stream_is_one_of_ours() -> None:
    names = {one["name"] for one in DOCUMENT["x-streams"]} | {
        f"KV_{one['name']}" for one in DOCUMENT["x-buckets"]
    }
    for channel in CHANNELS.values():
        if "x-stream" in channel:
            assert channel["x-stream"] in names | {Subjects().named("EVENTS")}
