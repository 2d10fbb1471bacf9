"""Events to bytes and back, and the chain of digests that binds the lines of a log.

A line is a record in canonical JSON: compact, fields in the order of `EventRecord`, free-form objects with
sorted keys. Its digest is taken over the digest before and the line without its digest.
"""

from collections.abc import Iterable, Sequence
from typing import Final

import msgspec
from blake3 import blake3

from vagus.contract import limits
from vagus.contract.errors import Malformed
from vagus.contract.events import EventKind, EventRecord, KnownKind, Unknown
from vagus.contract.events.base import UNTYPED
from vagus.contract.json import depth

_DIGEST: Final = b',"digest":"'
_KIND: Final = b',"kind":'
"""Cannot stand inside a JSON string, so that the first one in a line is the record's."""
_NAME: Final = "blake3:"
_MEMBER_BYTES: Final = len(_DIGEST) + len(_NAME) + 64 + 1
_SHALLOW_BYTES: Final = 640
"""Most lines are shorter, and can nest 320 levels at most: every reader takes that, so nobody looks."""
_UNREADABLE: Final = (msgspec.MsgspecError, UnicodeDecodeError, RecursionError)


def _raw(value: object) -> msgspec.Raw:
    if isinstance(value, Unknown):
        return msgspec.Raw(value.raw)
    raise TypeError(f"{type(value).__name__} is not JSON")


_ENCODER: Final = msgspec.json.Encoder(order="deterministic", enc_hook=_raw)
_KINDS: Final[msgspec.json.Decoder[KnownKind]] = msgspec.json.Decoder(KnownKind)
_RECORDS: Final[msgspec.json.Decoder[EventRecord]] = msgspec.json.Decoder(EventRecord)
_ANY_KIND: Final = msgspec.Raw(b'{"type":"ErrorRaised","message":""}')


class Sealed(msgspec.Struct, frozen=True, kw_only=True):
    """Events ready to be committed: digests set, lines encoded."""

    records: tuple[EventRecord, ...]
    lines: tuple[bytes, ...]
    """Without their newlines."""
    payload: bytes
    """The lines, each ended by a newline: the body of a commit."""
    digest: str
    """Of the last line."""


def encode_kind(kind: EventKind) -> bytes:
    """A kind as canonical JSON, an unknown one as it was read; `Malformed` if it holds what is not JSON."""
    return _encode(kind)


def decode_kind(data: bytes) -> EventKind:
    """Read a kind: any JSON that is not a known one becomes `Unknown`. Raises `Malformed` on other text."""
    if len(data) > _SHALLOW_BYTES:
        _check_depth(data)
    try:
        return _KINDS.decode(data)
    except _UNREADABLE:
        try:
            data.decode()  # the decoder passes over what it does not read
            return Unknown(bytes(msgspec.json.decode(data, type=msgspec.Raw)))
        except _UNREADABLE as error:
            raise Malformed(f"not an event kind: {error}") from error


def encode_record(record: EventRecord) -> bytes:
    """A record as its line, without a newline. Raises `Malformed` if it holds what is not JSON."""
    return _encode(record)


def decode_record(line: bytes) -> EventRecord:
    """Read a line, with or without its newline; raises `Malformed` if it is not a record."""
    try:
        return _RECORDS.decode(line)
    except _UNREADABLE:
        return _with_unknown_kind(line)


def decode_commit(payload: bytes) -> list[EventRecord]:
    """Read all lines of a commit; raises `Malformed` if one is not a record."""
    try:
        return _RECORDS.decode_lines(payload)
    except _UNREADABLE:
        return [decode_record(line) for line in split_lines(payload)]


def split_lines(payload: bytes) -> list[bytes]:
    """The lines of a commit, without their newlines."""
    return [line for line in payload.split(b"\n") if line]


def seal(records: Sequence[EventRecord], previous_digest: str) -> Sealed:
    """Chain and encode the events of one commit; `previous_digest` is that of the event before on the branch.

    Before main's first event, and before a fork at 0, it is the empty text. Raises ValueError if there are no
    records, `Malformed` if one holds what is not JSON.
    """
    if not records:
        raise ValueError("a commit has at least one event")
    sealed: list[EventRecord] = []
    lines: list[bytes] = []
    digest = previous_digest
    for record in records:
        bare = _encode(record if record.digest is None else msgspec.structs.replace(record, digest=None))
        digest = _digest(digest, bare)
        head, _, kind = bare.partition(_KIND)
        lines.append(b'%b,"digest":"%b","kind":%b' % (head, digest.encode(), kind))
        sealed.append(msgspec.structs.replace(record, digest=digest))
    payload = b"\n".join(lines) + b"\n"
    return Sealed(records=tuple(sealed), lines=tuple(lines), payload=payload, digest=digest)


def chain_digest(previous: str, line: bytes) -> str:
    """The digest that `line` must carry after `previous`; a digest that it does carry is left out."""
    return _digest(previous, _split(line.removesuffix(b"\n"))[0])


def line_digest(line: bytes) -> str | None:
    """The digest that `line` carries, None if it has none in its place."""
    return _split(line)[1]


def verify(lines: Iterable[bytes], previous: str) -> str:
    """Check the chain over consecutive lines of one branch and return the digest of the last.

    Raises `Malformed` that names the first event whose line is not as it was written.
    """
    for position, line in enumerate(lines):
        bare, found = _split(line.removesuffix(b"\n"))
        previous = _digest(previous, bare)
        if found != previous:
            raise Malformed(f"broken chain at {_name(line, position)}: digest {found}, computed {previous}")
    return previous


def commit_headers(sealed: Sealed, traceparent: str | None = None) -> dict[str, str]:
    """The headers of a commit."""
    first, last = sealed.records[0], sealed.records[-1]
    headers = {
        "Nats-Msg-Id": last.event_id,
        "Vagus-First": str(first.sequence),
        "Vagus-Last": str(last.sequence),
        "Vagus-Kinds": ",".join([kind_token(record.kind.type) for record in sealed.records]),
    }
    if traceparent is not None:
        headers["traceparent"] = traceparent
    return headers


def _encode(value: object) -> bytes:
    try:
        text = _ENCODER.encode(value)
    except (TypeError, ValueError, OverflowError, RecursionError) as error:
        raise Malformed(f"cannot be written as JSON: {error}") from error
    if len(text) > _SHALLOW_BYTES:
        _check_depth(text)
    return text


def _check_depth(text: bytes) -> None:
    if text.count(b"[") + text.count(b"{") > limits.JSON_DEPTH and depth(text) > limits.JSON_DEPTH:
        raise Malformed(f"nested deeper than {limits.JSON_DEPTH} levels")


def _digest(previous: str, bare: bytes) -> str:
    return _NAME + blake3(b"%b\n%b" % (previous.encode(), bare)).digest().hex()


def _split(line: bytes) -> tuple[bytes, str | None]:
    """The line without its digest, and the digest: None if there is none directly before the kind."""
    end = line.find(_KIND)
    start = end - _MEMBER_BYTES
    if start > 0 and line.startswith(_DIGEST, start) and line.startswith(b'"', end - 1):
        return line[:start] + line[end:], line[start + len(_DIGEST) : end - 1].decode("ascii", "replace")
    return line, None


def _name(line: bytes, position: int) -> str:
    try:
        record = decode_record(line)
    except Malformed:
        return f"line {position + 1}"
    return f"event {record.event_id} (sequence {record.sequence} of {record.branch_id})"


def kind_token(name: str) -> str:
    """The name of an event's kind where only a plain word may stand: in a header, in a subject."""
    return name if name.isascii() and name.isalnum() else UNTYPED


def _with_unknown_kind(line: bytes) -> EventRecord:
    try:
        members = msgspec.json.decode(line, type=dict[str, msgspec.Raw])
        raw = members["kind"]
        record = _RECORDS.decode(msgspec.json.encode({**members, "kind": _ANY_KIND}))
    except _UNREADABLE as error:
        raise Malformed(f"not an event record: {error}") from error
    except KeyError as error:
        raise Malformed("not an event record: it has no kind") from error
    return msgspec.structs.replace(record, kind=Unknown(bytes(raw)))
