"""Events as CloudEvents 1.0, for systems that take those: one JSON document, or headers and the line itself.

Needs the extra `vagus[cloudevents]`.
"""

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Final, TypeAlias

import msgspec

from vagus.contract.clock import parse
from vagus.contract.codec import decode_record
from vagus.contract.errors import SettingsError
from vagus.contract.events import EventRecord
from vagus.contract.json import Json
from vagus.contract.schemas import uri

if TYPE_CHECKING:
    from cloudevents.core.v1.event import CloudEvent

TYPE_PREFIX: Final = "vagus."
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_DIGITS: Final = 20
"""Of a sequence: the extension orders sequences as text."""

Encoded: TypeAlias = tuple[dict[str, str], bytes]
"""Headers and body by the HTTP binding, whose header names others use as well."""


def available() -> None:
    """Raises `SettingsError` if the library is not installed."""
    try:
        import cloudevents.core  # noqa: F401
    except ImportError as error:
        raise SettingsError("format cloudevents needs more: pip install 'vagus[cloudevents]'") from error


def structured(line: bytes) -> Encoded:
    """The event as one JSON document, the line's content its `data`; `Malformed` if the line is no event."""
    from cloudevents.core.bindings.http import to_structured
    from cloudevents.core.formats.json import JSONFormat

    record = decode_record(line)
    data: dict[str, Json] = msgspec.json.decode(line)
    message = to_structured(_event(record, data), JSONFormat())
    return message.headers, message.body


def binary(line: bytes) -> Encoded:
    """The event's attributes as headers, and the line as it is; `Malformed` if the line is no event."""
    from cloudevents.core.bindings.http import to_binary
    from cloudevents.core.formats.json import JSONFormat

    message = to_binary(_event(decode_record(line), line), JSONFormat())
    return message.headers, message.body


def _event(record: EventRecord, data: dict[str, Json] | bytes) -> "CloudEvent":
    from cloudevents.core.v1.event import CloudEvent

    return CloudEvent(_attributes(record), data)


def _attributes(record: EventRecord) -> dict[str, Json]:
    """Of the specification, then extensions, which are left out where there is nothing to say.

    A branch is the source: `sequence` counts the events of one source.
    """
    place = f"{record.session_id}/{record.branch_id}"
    extensions = {
        "sequence": str(record.sequence).zfill(_DIGITS),
        "partitionkey": record.session_id,
        "session": record.session_id,
        "branch": record.branch_id,
        "correlationid": record.correlation_id,
        "causationid": record.causation_id,
        "traceparent": _traceparent(record),
    }
    return {
        "specversion": "1.0",
        "id": record.event_id,
        "source": f"urn:vagus:{record.session_id}:{record.branch_id}",
        "type": TYPE_PREFIX + record.kind.type,
        "subject": place,
        "time": _EPOCH + timedelta(microseconds=parse(record.timestamp) // 1000),
        "datacontenttype": "application/json",
        "dataschema": uri(EventRecord.__name__),
    } | {name: value for name, value in extensions.items() if value}


def _traceparent(record: EventRecord) -> str | None:
    if record.trace_id is None or record.span_id is None:
        return None
    return f"00-{record.trace_id}-{record.span_id}-01"
