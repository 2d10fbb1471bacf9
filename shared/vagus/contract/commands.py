"""Commands: what clients ask of a session, and the replies.

The body of a command stands under the snake-case name of its type (`"tick": {…}`); a command whose body is
missing takes the body's fields from the top level instead, so that both spellings are read.
"""

from typing import Annotated, Self, TypeAlias

import msgspec

from vagus.contract.errors import ErrorInfo, Malformed, VagusError
from vagus.contract.ids import MAIN, Id
from vagus.contract.json import Json
from vagus.contract.limits import COMMAND_ID_CHARS
from vagus.contract.models import ModelRouting
from vagus.contract.policy import PolicySet
from vagus.contract.schedules import DropSchedule, NewSchedule, ScheduleQuery
from vagus.contract.sessions import BudgetExtension, TickInput
from vagus.contract.state import BudgetState


class NewSession(msgspec.Struct, frozen=True, kw_only=True):
    """The body of CreateSession."""

    owner: str
    policy: PolicySet
    model_routing: ModelRouting | None = None
    budget: BudgetState | None = None


class NewBranch(msgspec.Struct, frozen=True, kw_only=True):
    """The body of CreateBranch."""

    branch: Id
    from_branch: Id = MAIN
    fork_sequence: int | None = None
    """None: the parent's head."""


class Merge(msgspec.Struct, frozen=True, kw_only=True):
    """The body of MergeBranch."""

    branch: Id
    into: Id = MAIN
    cancel: bool = False


class ExternalEvent(msgspec.Struct, frozen=True, kw_only=True):
    """The body of RecordEvent: an event kind as JSON."""

    event: Json
    branch: Id = MAIN


class NewPolicy(msgspec.Struct, frozen=True, kw_only=True):
    """The body of SetPolicy."""

    policy: PolicySet


class CancelTick(msgspec.Struct, frozen=True, kw_only=True):
    """The body of Cancel."""

    command_id: str | None = None
    """Of the tick to cancel; None: whatever runs or waits on the branch."""


class Restore(msgspec.Struct, frozen=True, kw_only=True):
    """The body of RestoreCheckpoint."""

    checkpoint_id: str


class CloseSession(msgspec.Struct, frozen=True, kw_only=True):
    """The body of Close."""

    reason: str
    cancel: bool = False


class Archiving(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The body of ArchiveSession."""

    stream_sequence: int | None = None
    """Only if the log still ends with this commit; None: wherever it ends."""


class Restoring(msgspec.Struct, frozen=True, kw_only=True):
    """The body of RestoreSession."""


class Erasing(msgspec.Struct, frozen=True, kw_only=True):
    """The body of EraseSession."""


class _Command(msgspec.Struct, frozen=True, kw_only=True, tag_field="type", omit_defaults=True):
    command_id: Annotated[str, msgspec.Meta(min_length=1, max_length=COMMAND_ID_CHARS)]
    session_id: Id
    branch_id: Id = MAIN
    actor: str = ""
    reply_to: str | None = None
    sent_at: str = ""


class Tick(_Command, frozen=True, kw_only=True):
    """Run one turn on a branch."""

    tick: TickInput


class CreateSession(_Command, frozen=True, kw_only=True):
    """Create the session; by an existing id it returns its manifest."""

    create_session: NewSession


class CreateBranch(_Command, frozen=True, kw_only=True):
    """Fork a branch."""

    create_branch: NewBranch


class MergeBranch(_Command, frozen=True, kw_only=True):
    """Merge a branch into another; the source becomes read-only."""

    merge_branch: Merge


class RecordEvent(_Command, frozen=True, kw_only=True):
    """Record a fact from outside."""

    record_event: ExternalEvent


class SetPolicy(_Command, frozen=True, kw_only=True):
    """Replace the session's policy."""

    set_policy: NewPolicy


class ExtendBudget(_Command, frozen=True, kw_only=True):
    """Add to a branch's budget."""

    extend_budget: BudgetExtension


class Cancel(_Command, frozen=True, kw_only=True):
    """End what runs or waits on a branch."""

    cancel: CancelTick = CancelTick()


class RestoreCheckpoint(_Command, frozen=True, kw_only=True):
    """Set a branch's state back to a checkpoint's."""

    restore_checkpoint: Restore


class Close(_Command, frozen=True, kw_only=True):
    """Close the session; it is read-only afterwards."""

    close: CloseSession


class Schedule(_Command, frozen=True, kw_only=True):
    """Have a tick begin on the branch later, once or again and again."""

    schedule: NewSchedule


class Unschedule(_Command, frozen=True, kw_only=True):
    """Drop a schedule."""

    unschedule: DropSchedule


class ListSchedules(_Command, frozen=True, kw_only=True):
    """Tell the session's schedules."""

    list_schedules: ScheduleQuery = ScheduleQuery()


class ArchiveSession(_Command, frozen=True, kw_only=True):
    """Move the session's log to the archive, if the session is at rest."""

    archive_session: Archiving = Archiving()


class RestoreSession(_Command, frozen=True, kw_only=True):
    """Bring the session's log back from the archive now; any command that writes does so by itself."""

    restore_session: Restoring = Restoring()


class EraseSession(_Command, frozen=True, kw_only=True):
    """Carry out the order to erase the session, which stands in the bucket `ERASED`."""

    erase_session: Erasing = Erasing()


Command: TypeAlias = (
    Tick
    | CreateSession
    | CreateBranch
    | MergeBranch
    | RecordEvent
    | SetPolicy
    | ExtendBudget
    | Cancel
    | RestoreCheckpoint
    | Close
    | Schedule
    | Unschedule
    | ListSchedules
    | EraseSession
    | ArchiveSession
    | RestoreSession
)

BODY: dict[str, str] = {
    "Tick": "tick",
    "CreateSession": "create_session",
    "CreateBranch": "create_branch",
    "MergeBranch": "merge_branch",
    "RecordEvent": "record_event",
    "SetPolicy": "set_policy",
    "ExtendBudget": "extend_budget",
    "Cancel": "cancel",
    "RestoreCheckpoint": "restore_checkpoint",
    "Close": "close",
    "Schedule": "schedule",
    "Unschedule": "unschedule",
    "ListSchedules": "list_schedules",
    "EraseSession": "erase_session",
    "ArchiveSession": "archive_session",
    "RestoreSession": "restore_session",
}
"""The field that holds the body of each type of command."""


_NOTHING: msgspec.Raw = msgspec.Raw()


class Reply(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The answer to a command: exactly one of `ok` and `error`."""

    command_id: str
    ok: msgspec.Raw = _NOTHING
    """JSON; empty if there is an error. (Not optional: msgspec reads no union with `Raw`.)"""
    error: ErrorInfo | None = None

    @classmethod
    def to(cls, command_id: str, answer: msgspec.Struct | VagusError) -> Self:
        """The reply with this answer."""
        if isinstance(answer, VagusError):
            return cls(command_id=command_id, error=ErrorInfo.of(answer))
        return cls(command_id=command_id, ok=msgspec.Raw(msgspec.json.encode(answer)))


_COMMANDS: msgspec.json.Decoder[Command] = msgspec.json.Decoder(Command)


def decode_command(data: bytes) -> Command:
    """Read a command; raises `Malformed` that says what is wrong and where."""
    try:
        return _COMMANDS.decode(data)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as strict:
        try:
            return _flat(data)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
            raise Malformed(f"not a command: {strict}") from strict


def _flat(data: bytes) -> Command:
    fields = msgspec.json.decode(data, type=dict[str, object])
    body = BODY.get(str(fields.get("type")))
    if body is None or body in fields:
        return _COMMANDS.decode(data)  # raises again, with the same words
    command: Command = msgspec.convert({**fields, body: fields}, Command)
    return command
