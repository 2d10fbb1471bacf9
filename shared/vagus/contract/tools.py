"""Tools: calls, outcomes, reports and definitions (fact sheet 1.7; annotations carry MCP's names)."""

from enum import StrEnum
from typing import Annotated, Final, TypeAlias

import msgspec

from vagus.contract.ids import Id
from vagus.contract.json import Json

DEFAULT_POOL = "default"
"""The pool of runners that a tool belongs to unless it says otherwise."""


_RATE: Final = r"^[1-9][0-9]{0,5}/(s|min|h)(?![\s\S])"


class Priority(StrEnum):
    """Who comes first where calls wait for a runner: a token of their subject."""

    HIGH = "high"
    NORMAL = "normal"
    LOW = "low"

    @property
    def below(self) -> "Priority":
        """The next one down; `low` has none below it."""
        return Priority.NORMAL if self is Priority.HIGH else Priority.LOW


class ToolCall(msgspec.Struct, frozen=True, kw_only=True):
    """A request to run one tool; `call_id` comes from the model or the caller and is only data."""

    call_id: str = ""
    """Empty: the kernel makes one."""
    tool_name: str
    input: Json = msgspec.field(default_factory=dict)
    requested_capabilities: tuple[str, ...] = ()
    """What the caller declares; the gate adds what the tool's definition derives from the input."""


class Success(msgspec.Struct, frozen=True, kw_only=True, tag_field="status", tag="success"):
    """The tool did what was asked."""

    output: Json = None


class Failure(msgspec.Struct, frozen=True, kw_only=True, tag_field="status", tag="failure"):
    """The tool ran and did not succeed."""

    error: str


ToolOutcome: TypeAlias = Success | Failure


class FileMutation(msgspec.Struct, frozen=True, kw_only=True):
    """A file that a tool changed, as declared by the tool and hashed by the runner."""

    path: str
    """Relative to the workspace, as the tool was given it."""
    content_hash: str
    """SHA-256 hex of the content, or `deleted`."""


class ToolExecutionReport(msgspec.Struct, frozen=True, kw_only=True):
    """What one tool run gave."""

    tool_run_id: Id
    call_id: str
    tool_name: str
    exit_status: int
    duration_ms: int
    outcome: ToolOutcome
    mutated: tuple[FileMutation, ...] = ()
    started_at: str | None = None
    """RFC 3339, UTC."""
    status: str | None = None
    """`timeout` or `cancelled` when the run was cut short; None: by exit status and outcome."""


class ToolAnnotations(msgspec.Struct, frozen=True, kw_only=True):
    """What a tool says of itself; false means no promise."""

    read_only: bool = False
    """Changes nothing: may be repeated, runs without a claim."""
    destructive: bool = False
    idempotent: bool = False
    """Running it twice with the same input equals running it once: may be repeated."""
    open_world: bool = False
    requires_confirmation: bool = False

    @property
    def repeatable(self) -> bool:
        """Whether a run whose outcome is unknown may be run again."""
        return self.read_only or self.idempotent


class ToolDefinition(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What is known of a tool without running it."""

    name: Annotated[
        str, msgspec.Meta(pattern=r"^[A-Za-z0-9_-]+(\.[A-Za-z0-9_-]+)*(?![\s\S])", max_length=128)
    ]
    description: str = ""
    input_schema: dict[str, Json] = msgspec.field(default_factory=lambda: {"type": "object"})
    """JSON Schema 2020-12 of the input object."""
    title: str | None = None
    output_schema: dict[str, Json] | None = None
    annotations: ToolAnnotations = ToolAnnotations()
    category: str | None = None
    tags: tuple[str, ...] = ()
    timeout_secs: Annotated[int, msgspec.Meta(ge=1, le=86_400)] = 30
    """Of one run; the policy's max_tool_runtime_secs may only shorten it."""
    pool: Id = DEFAULT_POOL
    retries: Annotated[int, msgspec.Meta(ge=0, le=100)] = 0
    """How often the runner tries again, within the call's time, after an exception; repeatable tools only."""
    retry_failures: bool = False
    """Also after a ToolFailure."""
    rate: Annotated[str, msgspec.Meta(pattern=_RATE)] | None = None
    """How often each runner may begin it, such as `10/s`, `100/min` or `5/h`; None: as often as asked."""
    capabilities: tuple[str, ...] = ()
    """Templates: `{name}` is replaced by the input's field; `{path}` is normalised first (`/session/...`)."""


def read_rate(rate: str) -> tuple[int, str]:
    """How many, and in which unit of time: of `10/s`, 10 and `s`."""
    count, _, unit = rate.partition("/")
    return int(count), unit


class ToolboxEntry(msgspec.Struct, frozen=True, kw_only=True):
    """A definition in the bucket of tools, key `<pool>.<tool>`; that a runner lives is told by its lease."""

    definition: ToolDefinition
    registered_at: str
