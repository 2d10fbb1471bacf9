"""Sandboxes."""

from vagus.contract.events.base import I32, U64, Kind
from vagus.contract.json import Json


class SandboxCreated(Kind, frozen=True, kw_only=True):
    """A sandbox exists."""

    sandbox_id: str
    tier: str
    config: Json


class SandboxExecuted(Kind, frozen=True, kw_only=True):
    """A command ran in a sandbox."""

    sandbox_id: str
    command: str
    exit_code: I32
    duration_ms: U64


class SandboxViolation(Kind, frozen=True, kw_only=True):
    """A sandbox stopped something."""

    sandbox_id: str
    violation_type: str
    details: str


class SandboxDestroyed(Kind, frozen=True, kw_only=True):
    """A sandbox is gone."""

    sandbox_id: str
