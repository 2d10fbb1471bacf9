"""Messages held against docs/asyncapi.yaml, as somebody would who has nothing but that document."""

import json
import re
from collections import Counter
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

import yaml
from jsonschema import Draft202012Validator

FILE = Path(__file__).parents[2] / "docs/asyncapi.yaml"


class Described:
    """The document, for an installation with a root token of its own; counts what it has checked."""

    def __init__(self, root: str = "vagus") -> None:
        self._document: Any = _document()
        self._channels = {
            name: _pattern(channel["address"], root)
            for name, channel in self._document["channels"].items()
            if channel["address"] is not None
        }
        self.seen: Counter[str] = Counter()

    def channel(self, subject: str) -> str | None:
        """The channel that a subject belongs to; replies go to any inbox."""
        if subject.startswith("_INBOX."):
            return "reply"
        return next((name for name, pattern in self._channels.items() if pattern.fullmatch(subject)), None)

    def check(self, subject: str, headers: Mapping[str, str], data: bytes) -> None:
        """Raises if a message is not what its channel says."""
        channel = self.channel(subject)
        assert channel is not None, f"{subject} is on no channel of {FILE.name}"
        messages = self._document["channels"][channel]["messages"]
        names = list(messages)
        told = self._document["components"]["messages"]
        if len(names) > 1:
            names = [name for name in names if name == json.loads(data)["type"]]
        (name,) = names
        if "headers" in told[name]:
            Draft202012Validator(told[name]["headers"]).validate(dict(headers))
        payload = told[name]["payload"]
        if payload:
            assert data, f"{subject}: empty"
            values = [json.loads(line) for line in data.splitlines()]
            for value in values:
                _validator(payload["$ref"]).validate(value)
            if payload["$ref"].endswith("/EventRecord"):
                self.seen.update(_kind(value["kind"]) for value in values)
        self.seen[name] += 1


def _kind(kind: Any) -> str:
    name: str = kind["event_type"] if kind["type"] == "Custom" else kind["type"]
    return name


def _pattern(address: str, root: str) -> re.Pattern[str]:
    moved = address.replace("$KV.VAGUS_", f"$KV.{root.upper()}_")
    moved = re.sub("^vagus", root, moved)
    last = (
        moved.rpartition(".")[0] + ".{rest}" if moved.endswith(".{tool}") else moved
    )  # names of tools have dots
    return re.compile(re.sub(r"\\{(\w+)\\}", lambda m: ".+" if m[1] == "rest" else r"[^.]+", re.escape(last)))


@cache
def _document() -> Any:
    return yaml.load(FILE.read_text(), Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))


@cache
def _validator(reference: str) -> Draft202012Validator:
    return Draft202012Validator({"$ref": reference, "components": _document()["components"]})
