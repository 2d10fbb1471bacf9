"""An event as a receiver is given it: the one place that knows formats."""

from enum import StrEnum

import msgspec

from vagus.runtime import cloudevent


class Format(StrEnum):
    """How an event is written for receivers that take it as a message."""

    JSON = "json"
    """The line of the log, byte for byte."""
    CLOUDEVENTS = "cloudevents"
    """A CloudEvent as one JSON document."""
    CLOUDEVENTS_BINARY = "cloudevents-binary"
    """A CloudEvent as headers, and the line of the log."""


class Encoded(msgspec.Struct, frozen=True):
    """A message; the names of its headers are in small letters."""

    headers: dict[str, str]
    body: bytes


def prepare(form: Format) -> None:
    """Raises `SettingsError` if a package is not there that the format needs."""
    if form is not Format.JSON:
        cloudevent.available()


def encode(line: bytes, form: Format) -> Encoded:
    """The event as a message in this format; `Malformed` if the line is none."""
    match form:
        case Format.JSON:
            return Encoded({"content-type": "application/json"}, line)
        case Format.CLOUDEVENTS:
            headers, body = cloudevent.structured(line)
        case Format.CLOUDEVENTS_BINARY:
            headers, body = cloudevent.binary(line)
    return Encoded({name.lower(): value for name, value in headers.items()}, body)
