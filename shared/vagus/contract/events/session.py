"""Input from outside, and the lives of sessions and branches."""

from vagus.contract.events.base import U64, Kind
from vagus.contract.json import Json


class UserMessage(Kind, frozen=True, kw_only=True):
    """A person said something."""

    content: str


class ExternalSignal(Kind, frozen=True, kw_only=True):
    """Something outside happened."""

    signal_type: str
    data: Json


class SessionCreated(Kind, frozen=True, kw_only=True):
    """The session exists."""

    name: str
    config: Json


class SessionResumed(Kind, frozen=True, kw_only=True):
    """Another kernel took the session over; from here on the former owner cannot write."""

    from_snapshot: str | None = None


class SessionClosed(Kind, frozen=True, kw_only=True):
    """The session is read-only from here on."""

    reason: str


class BranchCreated(Kind, frozen=True, kw_only=True):
    """A branch begins; the first event of that branch."""

    new_branch_id: str
    fork_point_seq: U64
    """The last sequence of the parent that the branch shares."""
    name: str
    from_branch: str | None = None
    """The parent. Absent in the original's logs."""


class BranchMerged(Kind, frozen=True, kw_only=True):
    """Another branch was merged into this one."""

    source_branch_id: str
    merge_seq: U64
    """The source's head."""
