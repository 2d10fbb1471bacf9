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


class Cancelled(msgspec.Struct, frozen=True, kw_only=True):
    """The reply to Cancel."""

    running: int
    """Turns that are being ended."""
    waiting: int
    """Ticks that will not begin."""
    approvals: int
    """Tickets that are withdrawn."""
