"""Policies: capabilities, sets, presets, and the decision rule (fact sheet 1.6 and 3.1)."""

from collections.abc import Iterable
from enum import StrEnum
from typing import Annotated, Final

import msgspec

Capability = Annotated[str, msgspec.Meta(min_length=1, max_length=1024)]
"""Such as `fs:read:<glob>`, `net:egress:<host>`, `exec:cmd:<command>`, `secrets:read:<scope>`; or free."""


class SpanStatus(StrEnum):
    """How a tool run ended."""

    OK = "ok"
    ERROR = "error"
    TIMEOUT = "timeout"
    CANCELLED = "cancelled"


class PolicyDecisionKind(StrEnum):
    """What the gate said of one call."""

    ALLOW = "allow"
    DENY = "deny"
    REQUIRE_APPROVAL = "require_approval"


class PolicySet(msgspec.Struct, frozen=True, kw_only=True):
    """What a session may do. All four fields are required on the wire."""

    allow_capabilities: tuple[Capability, ...]
    gate_capabilities: tuple[Capability, ...]
    """Looked at first: a capability that matches needs a person's approval."""
    max_tool_runtime_secs: Annotated[int, msgspec.Meta(ge=1, le=86_400)]
    max_events_per_turn: Annotated[int, msgspec.Meta(ge=1, le=1_000_000)]

    @classmethod
    def preset(cls, name: str) -> "PolicySet":
        """A shipped policy: `default`, `anonymous`, `free`, `pro` or `enterprise`; else KeyError."""
        return PRESETS[name]


class PolicyInForce(msgspec.Struct, frozen=True, kw_only=True):
    """A session's policy in the bucket of policies, key `<session>`; a projection of the log."""

    version: Annotated[int, msgspec.Meta(ge=1)]
    """Counts up by one with every change of the policy."""
    policy: PolicySet


_FREE_COMMANDS: Final = ("cat", "ls", "echo", "grep", "jq", "python3", "find", "head", "tail", "sort", "wc")

PRESETS: Final[dict[str, PolicySet]] = {
    "default": PolicySet(
        allow_capabilities=("fs:read:/session/**", "fs:write:/session/artifacts/**", "exec:cmd:git"),
        gate_capabilities=("payments:initiate",),
        max_tool_runtime_secs=30,
        max_events_per_turn=256,
    ),
    "anonymous": PolicySet(
        allow_capabilities=("fs:read:/session/**",),
        gate_capabilities=("fs:write:**", "net:egress:*", "secrets:read:*"),
        max_tool_runtime_secs=30,
        max_events_per_turn=5,
    ),
    "free": PolicySet(
        allow_capabilities=(
            "fs:read:/session/**",
            "net:egress:*",
            *(f"exec:cmd:{command}" for command in _FREE_COMMANDS),
        ),
        gate_capabilities=("fs:write:**", "secrets:read:*"),
        max_tool_runtime_secs=30,
        max_events_per_turn=15,
    ),
    "pro": PolicySet(
        allow_capabilities=("*",), gate_capabilities=(), max_tool_runtime_secs=60, max_events_per_turn=50
    ),
    "enterprise": PolicySet(
        allow_capabilities=("*",), gate_capabilities=(), max_tool_runtime_secs=120, max_events_per_turn=200
    ),
}


class PolicyDecision(msgspec.Struct, frozen=True, kw_only=True):
    """The capabilities of one call, sorted into three; each list without duplicates, in the order asked."""

    allowed: tuple[str, ...] = ()
    requires_approval: tuple[str, ...] = ()
    denied: tuple[str, ...] = ()

    @property
    def kind(self) -> PolicyDecisionKind:
        """Deny outranks approval, approval outranks allow."""
        if self.denied:
            return PolicyDecisionKind.DENY
        return PolicyDecisionKind.REQUIRE_APPROVAL if self.requires_approval else PolicyDecisionKind.ALLOW


def matches(pattern: str, capability: str) -> bool:
    """Whether `pattern` covers `capability`: by prefix if it ends in `*` (all dropped), else exactly.

    Paths in a capability are normalised before they get here; a `..` segment matches nothing.
    """
    if ".." in capability and ".." in capability.split(":", 2)[-1].split("/"):
        return False
    return capability.startswith(pattern.rstrip("*")) if pattern.endswith("*") else capability == pattern


def evaluate(policy: PolicySet, capabilities: Iterable[str]) -> PolicyDecision:
    """Sort `capabilities`: gate list first, then the allow list, else denied. None asked is allowed."""
    allowed: dict[str, None] = {}
    gated: dict[str, None] = {}
    denied: dict[str, None] = {}
    for capability in capabilities:
        if any(matches(pattern, capability) for pattern in policy.gate_capabilities):
            gated[capability] = None
        elif any(matches(pattern, capability) for pattern in policy.allow_capabilities):
            allowed[capability] = None
        else:
            denied[capability] = None
    return PolicyDecision(allowed=tuple(allowed), requires_approval=tuple(gated), denied=tuple(denied))
