"""Trying a policy."""

from collections.abc import Sequence

import msgspec

from vagus.contract.policy import PolicyDecisionKind, PolicySet, evaluate


class Trial(msgspec.Struct, frozen=True, kw_only=True):
    """What a policy decides of some capabilities."""

    decision: PolicyDecisionKind
    allowed: tuple[str, ...]
    requires_approval: tuple[str, ...]
    denied: tuple[str, ...]


def try_policy(policy: PolicySet, capabilities: Sequence[str]) -> Trial:
    """Decide as the gate does."""
    decision = evaluate(policy, capabilities)
    return Trial(
        decision=decision.kind,
        allowed=decision.allowed,
        requires_approval=decision.requires_approval,
        denied=decision.denied,
    )
