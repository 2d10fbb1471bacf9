"""The file of sinks: which there are, what each of them gets, and where it sends it.

    [sinks.audit]                       # the durable name: progress is kept under it
    type = "webhook"
    url = "https://example.org/hooks/vagus"
    secrets = [{ env = "AUDIT_SECRET" }]
    kinds = ["ApprovalRequested", "ApprovalResolved"]

TOML, or the same as JSON.
"""

import tomllib
from pathlib import Path
from typing import Annotated, Final, Literal, TypeAlias

import msgspec

from vagus.contract.errors import SettingsError
from vagus.contract.ids import Id
from vagus.contract.json import Json
from vagus_relay.sinks.encoding import Format
from vagus_relay.sinks.secret import Secret

DAY_S: Final = 24 * 3600.0
Seconds = Annotated[float, msgspec.Meta(gt=0, le=7 * DAY_S)]
Concurrency = Annotated[int, msgspec.Meta(ge=1, le=1024)]
SchemaName = Annotated[str, msgspec.Meta(pattern=r"^[a-z_][a-z0-9_]{0,62}(?![\s\S])")]


class Choice(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag_field="type"):
    """Which events a sink gets; empty: all."""

    sessions: tuple[Id, ...] = ()
    branches: tuple[Id, ...] = ()
    kinds: tuple[str, ...] = ()
    owner: str | None = None
    """Of the sessions."""
    start: Literal["first", "new"] = "first"
    """Where a name begins that is used for the first time: with the oldest event there is, or the next."""


class WebhookSink(Choice, frozen=True, kw_only=True, forbid_unknown_fields=True, tag="webhook"):
    """Each event as a signed POST request."""

    url: str
    secrets: Annotated[tuple[Secret, ...], msgspec.Meta(min_length=1, max_length=4)]
    """Each signs: while one is replaced, give the new one and the old one."""
    headers: dict[str, Secret] = {}
    """More headers, such as `Authorization`; their values are secrets."""
    format: Format = Format.JSON
    allow_http: bool = False
    """Send without TLS, so that everybody on the way can read it."""
    ca_file: Path | None = None
    """Certificates to trust instead of the system's."""
    timeout_s: Annotated[float, msgspec.Meta(gt=0, le=60)] = 10
    concurrency: Concurrency = 16
    """Requests at a time, each of another session."""
    retry_for_s: Seconds = DAY_S
    """So long after its first failure a session's next event goes to the dead letters."""
    retry_first_s: Seconds = 1
    retry_most_s: Seconds = 3600


class NdjsonSink(Choice, frozen=True, kw_only=True, forbid_unknown_fields=True, tag="ndjson"):
    """Files of lines, partitioned by day."""

    folder: Path
    format: Format = Format.JSON
    roll_s: Seconds = 300
    """A file is finished when it is so old, ..."""
    roll_mib: Annotated[int, msgspec.Meta(ge=1, le=4096)] = 128
    """... or so large."""

    def __post_init__(self) -> None:
        if self.format is Format.CLOUDEVENTS_BINARY:
            raise ValueError("format cloudevents-binary needs headers, which a file has not: use cloudevents")


class ParquetSink(Choice, frozen=True, kw_only=True, forbid_unknown_fields=True, tag="parquet"):
    """Parquet files, partitioned by day."""

    folder: Path
    roll_s: Seconds = 300
    roll_mib: Annotated[int, msgspec.Meta(ge=1, le=4096)] = 128
    """Of JSON before it is packed."""


class PostgresSink(Choice, frozen=True, kw_only=True, forbid_unknown_fields=True, tag="postgres"):
    """Rows of a PostgreSQL database."""

    dsn: Secret
    schema: SchemaName = "vagus"
    migrate: bool = True
    """Make tables and views, or bring them up to date; else they must be there."""
    batch: Annotated[int, msgspec.Meta(ge=1, le=10_000)] = 1000
    """Rows a transaction, at most."""


class CustomSink(Choice, frozen=True, kw_only=True, forbid_unknown_fields=True, tag="custom"):
    """A sink of somebody's own."""

    factory: str
    """`module:name` of a `SinkFactory`."""
    options: dict[str, Json] = {}


SinkConfig: TypeAlias = WebhookSink | NdjsonSink | ParquetSink | PostgresSink | CustomSink


class _File(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    sinks: dict[str, dict[str, Json]]


def read_sinks(source: str) -> dict[str, SinkConfig]:
    """The sinks that `source` names: the path of a TOML or JSON file, or the JSON itself.

    Raises one `SettingsError` that tells the file, the sink, the field and the rule that it breaks.
    """
    text, where = (source, "the sinks given") if source.lstrip().startswith("{") else _content(Path(source))
    try:
        raw = msgspec.json.decode(text) if text.lstrip().startswith("{") else tomllib.loads(text)
        sinks = msgspec.convert(raw, _File).sinks
    except (msgspec.MsgspecError, tomllib.TOMLDecodeError) as error:
        raise SettingsError(f"{where}: {error}; give each sink as [sinks.NAME]") from error
    if not sinks:
        raise SettingsError(f"{where}: no sinks; give each as [sinks.NAME]")
    return {name: _sink(where, name, fields) for name, fields in sinks.items()}


def _sink(where: str, name: str, fields: dict[str, Json]) -> SinkConfig:
    try:
        msgspec.convert(name, Id)
    except msgspec.ValidationError as error:
        raise SettingsError(f"{where}: sink {name!r}: a name is 1 to 64 of A-Z a-z 0-9 _ -") from error
    try:
        config: SinkConfig = msgspec.convert(fields, SinkConfig, dec_hook=_custom)
    except (msgspec.ValidationError, ValueError) as error:
        raise SettingsError(f"{where}: sink {name}: {error}") from error
    return config


def _custom(wanted: type, value: object) -> object:
    if wanted is object:
        return value
    if wanted is Path and isinstance(value, str) and value:
        return Path(value)
    raise ValueError(f"Expected a {wanted.__name__.lower()}")


def _content(path: Path) -> tuple[str, str]:
    try:
        return path.read_text(encoding="utf-8"), str(path)
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsError(f"cannot read the file of sinks {path}: {error}") from error
