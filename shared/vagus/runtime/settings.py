"""Settings from the environment: declared as a struct, read once, checked whole.

A process declares what it needs as fields of a `ProcessSettings` subclass; the field `stop_grace_s` is read
from `VAGUS_STOP_GRACE_S`. Each field is written `Annotated[type, doc("what it is", ge=…)]`, so that its rule
and its help text have one source.
"""

import re
import secrets
from collections.abc import Mapping
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Final, TypeVar

import msgspec
from msgspec import inspect

from vagus.contract import limits
from vagus.contract.errors import SettingsError
from vagus.contract.ids import Id
from vagus.contract.subjects import Subjects

_S = TypeVar("_S", bound=msgspec.Struct)
_PREFIX: Final = "VAGUS_"
_SWITCH: Final = {"on": True, "yes": True, "off": False, "no": False}
_SHOWN: Final = 60


def doc(text: str, *, secret: bool = False, ge: float | None = None, le: float | None = None) -> msgspec.Meta:
    """Describe a setting: its help text, whether its value is never shown, and the range of a number."""
    return msgspec.Meta(description=text, ge=ge, le=le, extra={"secret": True} if secret else None)


class LogLevel(StrEnum):
    """How much a process says on stderr."""

    DEBUG = "debug"
    INFO = "info"
    WARNING = "warning"
    ERROR = "error"


class Access(msgspec.Struct, frozen=True, kw_only=True):
    """How one proves to NATS who one is, and knows that it is NATS. Files are read at every connection."""

    credentials: Annotated[Path | None, doc("NATS credentials file")] = None
    nkey: Annotated[Path | None, doc("file with the seed of the nkey to log in with")] = None
    tls_ca: Annotated[
        Path | None, doc("PEM file of the authority that has signed the servers' certificates; demands TLS")
    ] = None
    tls_cert: Annotated[Path | None, doc("PEM file of our own certificate, where servers ask for one")] = None
    tls_key: Annotated[Path | None, doc("PEM file of its private key")] = None
    inbox_prefix: Annotated[
        str, doc("first token of the subjects that replies come on; it begins with _INBOX")
    ] = "_INBOX"

    def __post_init__(self) -> None:
        if self.credentials is not None and self.nkey is not None:
            raise ValueError("VAGUS_CREDENTIALS and VAGUS_NKEY: set one of them, not both")
        if (self.tls_cert is None) != (self.tls_key is None):
            raise ValueError("VAGUS_TLS_CERT and VAGUS_TLS_KEY: set both or none")
        if not re.fullmatch(r"_INBOX[A-Za-z0-9_-]{0,64}", self.inbox_prefix):
            raise ValueError(
                f"VAGUS_INBOX_PREFIX={_short(self.inbox_prefix)}: "
                "must be _INBOX, and up to 64 of A-Z a-z 0-9 _ -"
            )


class ProcessSettings(Access, frozen=True, kw_only=True):
    """What every process of Vagus needs."""

    server: Annotated[str, doc("URL of the NATS server; several, separated by commas, for a cluster")] = (
        "nats://127.0.0.1:4222"
    )
    root_subject: Annotated[
        Id, doc("first token of all subjects; in capitals, of all streams and buckets")
    ] = "vagus"
    root: Annotated[Path, doc("folder of the sessions' workspaces and files")] = Path(".vagus/root")
    instance: Annotated[Id, doc("name of this process, unique among its kind; made up if unset")] = (
        msgspec.field(default_factory=lambda: secrets.token_hex(6))
    )
    log_level: Annotated[LogLevel, doc("what is logged, on stderr")] = LogLevel.INFO
    stop_grace_s: Annotated[
        float, doc("seconds to finish running work after the first signal", ge=0, le=600)
    ] = limits.STOP_GRACE_S
    partitions: Annotated[int, doc("partitions of the inbox; the same in all processes", ge=1, le=1024)] = (
        limits.INBOX_PARTITIONS
    )
    replicas: Annotated[int, doc("copies of each stream that is created", ge=1, le=5)] = 1
    provision: Annotated[
        bool, doc("make the shared streams and buckets at the start; else `vagus provision` has made them")
    ] = True
    wait_s: Annotated[
        float, doc("seconds to wait at the start for the server and its streams", ge=0, le=600)
    ] = 0
    health_port: Annotated[int, doc("port of /healthz and /readyz over HTTP; 0: none", ge=0, le=65535)] = 0
    health_address: Annotated[str, doc("address that the health port is opened on")] = "127.0.0.1"
    fault: Annotated[str, doc("for tests: the point, `NAME` or `NAME:COUNT`, at which the process dies")] = ""

    @property
    def subjects(self) -> Subjects:
        """All names under the root subject."""
        return Subjects(root=self.root_subject)


class Setting(msgspec.Struct, frozen=True, kw_only=True):
    """One setting, as people are told of it."""

    variable: str
    help: str
    rule: str
    """What a value must be, such as `a whole number from 1 to 5`."""
    default: str | None
    """As it would be written; None: it must be set."""
    secret: bool


def read_settings(cls: type[_S], environ: Mapping[str, str]) -> _S:
    """Read all fields of `cls` from `environ`.

    Raises one `SettingsError` that names every wrong variable with its value and the rule that it breaks. A
    struct may check fields against each other in `__post_init__`, raising ValueError.
    """
    values: dict[str, object] = {}
    wrong: list[str] = []
    for field, setting in zip(msgspec.structs.fields(cls), describe(cls), strict=True):
        text = environ.get(setting.variable)
        if text is None:
            if field.required:
                wrong.append(f"{setting.variable} is not set: give {setting.rule} ({setting.help})")
            continue
        try:
            values[field.name] = _convert(text, field.type)
        except msgspec.ValidationError:
            shown = "(hidden)" if setting.secret else _short(text)
            wrong.append(f"{setting.variable}={shown}: must be {setting.rule}")
    if wrong:
        raise SettingsError("; ".join(wrong))
    try:
        return cls(**values)
    except ValueError as error:
        raise SettingsError(str(error)) from error


def describe(cls: type[msgspec.Struct]) -> tuple[Setting, ...]:
    """Every setting of `cls`, in the order of its fields."""
    settings = []
    for field in msgspec.structs.fields(cls):
        info = inspect.type_info(field.type)
        meta = info if isinstance(info, inspect.Metadata) else None
        default = None
        if field.default is not msgspec.NODEFAULT:
            default = _written(field.default)
        elif field.default_factory is not msgspec.NODEFAULT:
            default = "(made up)"
        settings.append(
            Setting(
                variable=_PREFIX + field.name.upper(),
                help=str(((meta.extra_json_schema if meta else None) or {}).get("description", "")),
                rule=_rule(info),
                default=default,
                secret=bool(meta and meta.extra and meta.extra.get("secret")),
            )
        )
    return tuple(settings)


def usage(cls: type[msgspec.Struct]) -> str:
    """The settings of `cls` as the text that `--help` shows."""
    lines = []
    for setting in describe(cls):
        default = "required" if setting.default is None else f"default {setting.default or '(empty)'}"
        lines.append(f"  {setting.variable}\n      {setting.help}: {setting.rule}; {default}")
    return "\n".join(lines)


def shown(settings: msgspec.Struct) -> str:
    """The settings as lines `VARIABLE=value`, with secrets and passwords in URLs left out."""
    lines = []
    for field, setting in zip(msgspec.structs.fields(settings), describe(type(settings)), strict=True):
        value = "(hidden)" if setting.secret else _no_password(_written(getattr(settings, field.name)))
        lines.append(f"{setting.variable}={value}")
    return "\n".join(lines)


def _convert(text: str, wanted: object) -> object:
    info = _plain(inspect.type_info(wanted))
    raw: object = text.strip()
    if isinstance(info, inspect.VarTupleType):
        raw = [part.strip() for part in text.split(",") if part.strip()]
    elif raw == "" and _optional(info):
        raw = None
    elif isinstance(info, inspect.BoolType):
        raw = _SWITCH.get(text.strip().lower(), raw)
    elif raw == "" and not isinstance(info, inspect.StrType):
        raise msgspec.ValidationError("empty")
    return msgspec.convert(raw, wanted, strict=False, dec_hook=_custom)


def _custom(wanted: type, value: object) -> object:
    if wanted is Path and isinstance(value, str):
        return Path(value)
    raise msgspec.ValidationError(f"cannot be read as {wanted.__name__}")


def _plain(info: inspect.Type) -> inspect.Type:
    return _plain(info.type) if isinstance(info, inspect.Metadata) else info


def _optional(info: inspect.Type) -> bool:
    return isinstance(info, inspect.UnionType) and any(isinstance(t, inspect.NoneType) for t in info.types)


def _rule(info: inspect.Type) -> str:
    match _plain(info):
        case inspect.IntType(ge=low, le=high):
            return "a whole number" + _range(low, high)
        case inspect.FloatType(ge=low, le=high):
            return "a number" + _range(low, high)
        case inspect.BoolType():
            return "true or false"
        case inspect.EnumType(cls=cls):
            return "one of " + ", ".join(str(member.value) for member in cls)
        case inspect.StrType(pattern=str()):
            return "1 to 64 of A-Z a-z 0-9 _ -"  # the only pattern in use: an id
        case inspect.VarTupleType(item_type=item):
            return f"a list separated by commas, each {_rule(item)}"
        case inspect.CustomType():
            return "a path"
        case inspect.UnionType(types=types):
            return " or ".join(_rule(t) for t in types if not isinstance(t, inspect.NoneType)) + ", or empty"
        case _:
            return "text"


def _range(low: float | None, high: float | None) -> str:
    if low is not None and high is not None:
        return f" from {low:g} to {high:g}"
    if low is not None:
        return f" of at least {low:g}"
    return f" of at most {high:g}" if high is not None else ""


def _written(value: object) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, tuple):
        return ",".join(_written(item) for item in value)
    return str(value)


def _short(text: str) -> str:
    text = _no_password(text)
    return repr(text if len(text) <= _SHOWN else text[: _SHOWN - 3] + "...")


def _no_password(text: str) -> str:
    return re.sub(r"://[^@/]*@", "://(hidden)@", text)
