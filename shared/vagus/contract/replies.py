"""What commands are answered with, where it is nothing that has another use."""

import msgspec


class PolicyVersion(msgspec.Struct, frozen=True, kw_only=True):
    """The reply to SetPolicy."""

    version: int


class Recorded(msgspec.Struct, frozen=True, kw_only=True):
    """The reply to RecordEvent."""

    branch_id: str
    sequence: int


class Closed(msgspec.Struct, frozen=True, kw_only=True):
    """The reply to Close."""

    session_id: str
    closed: bool = True


class LogPlace(msgspec.Struct, frozen=True, kw_only=True):
    """The reply to ArchiveSession and RestoreSession."""

    session_id: str
    archived: bool
    stream_sequence: int
    """Of the log's last commit."""


class Cancelled(msgspec.Struct, frozen=True, kw_only=True):
    """The reply to Cancel."""

    running: int
    """Turns that are being ended."""
    waiting: int
    """Ticks that will not begin."""
    approvals: int
    """Tickets that are withdrawn."""
