"""What an installation looks like at a moment, as operators ask for it."""

import msgspec


class Member(msgspec.Struct, frozen=True, kw_only=True):
    """A process that lives: it holds leases."""

    name: str
    """`<kind>.<instance>`, unique."""
    kind: str
    """`kernel`, `policygate`, `runner` or `approver`."""
    instance: str
    since: str
    """When it began; empty if it does not say."""
    alive_s: float | None
    """How long ago that was, by our clock; None if it does not say."""
    pools: tuple[str, ...] = ()
    """Of a runner."""
