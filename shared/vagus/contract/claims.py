"""Claims: who may run a tool call, or that nobody may any more. Kept in the bucket `CALLS`, created once."""

from typing import Final

import msgspec

CANCELLED: Final = "cancelled"
"""Holder of the claim of a call that was cancelled before any runner had claimed it."""


class Claim(msgspec.Struct, frozen=True, kw_only=True):
    """The value of a claim."""

    holder: str
    """The key of the runner's lease in `MEMBERS`, or `CANCELLED`."""
    taken_at: str


def claim_key(session: str, tool_run_id: str) -> str:
    """The key of a call's claim; whoever creates it has it."""
    return f"{session}.{tool_run_id}"
