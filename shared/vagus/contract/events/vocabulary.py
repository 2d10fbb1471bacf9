"""Small enums that only event kinds use (fact sheet 1.2)."""

from enum import StrEnum


class ActorType(StrEnum):
    """Who caused an event."""

    USER = "user"
    AGENT = "agent"
    SYSTEM = "system"


class SnapshotType(StrEnum):
    """How much a snapshot holds."""

    FULL = "full"
    INCREMENTAL = "incremental"


class MemoryScope(StrEnum):
    """Whose memory it is, narrowest first."""

    SESSION = "session"
    USER = "user"
    AGENT = "agent"
    ORG = "org"


class SteeringMode(StrEnum):
    """What a queued message does to the turn in progress."""

    COLLECT = "collect"
    STEER = "steer"
    FOLLOWUP = "followup"
    INTERRUPT = "interrupt"
