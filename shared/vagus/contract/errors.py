"""Every error of Vagus.

VagusError
├── Permanent            retrying cannot help
│   ├── Malformed        the input is not what the contract says
│   │   └── InvalidId
│   ├── NotFound
│   │   ├── SessionNotFound, BranchNotFound, CheckpointNotFound, ToolNotFound
│   │   │   └── SessionErased (of SessionNotFound)
│   ├── Refused          understood, and not allowed: by policy, state or budget
│   │   ├── BranchExists, BranchReadOnly, BudgetExceeded, ApprovalNotPending
│   ├── Interrupted      a middleware or the provider ended the command with an error of its own
│   └── SettingsError
├── Transient            retrying can help
│   ├── Unavailable, Busy
├── Conflict             another writer was first: reload, decide again
├── OutcomeUnknown       it may have happened: look in the log by id before acting again
├── ToolFailure          raised by a tool: it ran and did not succeed
└── HarnessError         raised by a tool: it could not be run at all

On the wire an error is `{"type": "<class name>", "message": "<one line>"}`.
"""

from typing import Final, Self

import msgspec


class VagusError(Exception):
    """Base of all errors of Vagus; its text is one line: what happened, to what, what to do."""

    def __init__(self, message: str | None = None) -> None:
        super().__init__(message if message is not None else (type(self).__doc__ or "").split("\n")[0])

    @property
    def message(self) -> str:
        """The one line."""
        return str(self.args[0])

    @property
    def type(self) -> str:
        """The name on the wire."""
        return type(self).__name__


class Permanent(VagusError):
    """Retrying cannot help."""


class Malformed(Permanent):
    """The input is not what the contract says."""


class InvalidId(Malformed):
    """An id that is not 1 to 64 of `A-Z a-z 0-9 _ -`."""

    def __init__(self, what: str, value: object = None) -> None:
        if value is None:
            super().__init__(what)  # rebuilt from its text on the wire
            return
        shown = repr(value)
        shown = shown if len(shown) <= 80 else shown[:77] + "..."
        super().__init__(f"invalid {what} {shown}: use 1 to 64 of A-Z a-z 0-9 _ -")


class NotFound(Permanent):
    """No such thing."""


class SessionNotFound(NotFound):
    """The session does not exist."""


class SessionErased(SessionNotFound):
    """The session was erased; its id is never used again."""


class BranchNotFound(NotFound):
    """The branch does not exist."""


class CheckpointNotFound(NotFound):
    """The checkpoint does not exist."""


class ToolNotFound(NotFound):
    """The tool does not exist."""


class Refused(Permanent):
    """Understood, and not allowed."""


class BranchExists(Refused):
    """The branch exists already."""


class BranchReadOnly(Refused):
    """The branch is merged or its session is closed; nothing can be written to it."""


class BudgetExceeded(Refused):
    """A budget of the branch is spent; `extend_budget` adds to it."""


class ApprovalNotPending(Refused):
    """The approval ticket does not exist or has been resolved."""


class Interrupted(Permanent):
    """A middleware ended the turn with an error."""


class SettingsError(Permanent):
    """A setting is missing or wrong."""


class Transient(VagusError):
    """Retrying can help."""


class Unavailable(Transient):
    """A server or a process that is needed does not answer."""


class Busy(Transient):
    """A queue is full; try again later."""


class Conflict(VagusError):
    """Another writer was first."""


class OutcomeUnknown(VagusError):
    """It may or may not have happened; look in the log before doing it again."""


class ToolFailure(VagusError):
    """A tool ran and did not succeed.

    Attributes:
        error: What went wrong; becomes the outcome's `error`.
        exit_status: As of a process; 0 is not a failure and is refused.
    """

    def __init__(self, error: str, exit_status: int = 1) -> None:
        if exit_status == 0:
            raise ValueError("ToolFailure: exit_status 0 would be a success")
        super().__init__(error)
        self.error = error
        self.exit_status = exit_status


class HarnessError(VagusError):
    """A tool could not be run at all; nothing of it took effect."""


class ErrorInfo(msgspec.Struct, frozen=True, kw_only=True):
    """An error on the wire."""

    type: str
    message: str

    @classmethod
    def of(cls, error: VagusError) -> Self:
        """The wire form of `error`."""
        return cls(type=error.type, message=error.message)

    def to_error(self) -> VagusError:
        """The typed error again; an unknown type becomes a `VagusError` that keeps the name in its text."""
        known = BY_NAME.get(self.type)
        return known(self.message) if known else VagusError(f"{self.type}: {self.message}")


def _tree(root: type[VagusError]) -> dict[str, type[VagusError]]:
    found = {root.__name__: root}
    for child in root.__subclasses__():
        found |= _tree(child)
    return found


BY_NAME: Final = _tree(VagusError)
"""Every error class by its name on the wire."""
