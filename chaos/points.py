"""The named points at which processes can be told to die, by the role of the process."""

from typing import Final

POINTS: Final[dict[str, tuple[str, ...]]] = {
    "kernel": (
        "kernel.before_commit",
        "kernel.committed_not_performed",
        "kernel.performed_not_acked",
        "kernel.due_taken",
        "kernel.due_stored",
    ),
    "gate": ("policygate.verdict_stored",),
    "runner": ("toolrunner.call_claimed", "toolrunner.tool_ended", "toolrunner.report_stored"),
    "approver": ("approver.ticket_resolved", "approver.resolution_stored"),
}
"""`tests/chaos/test_plan.py` looks that none of the code's is missing."""

ELSEWHERE: Final = ("kernel.archive_", "kernel.restore_", "kernel.erase_", "relay.")
"""Beginnings of the names of all others: a run has no archive, erases nothing and has no relays."""

RARE: Final = frozenset((*POINTS["approver"], "kernel.due_taken", "kernel.due_stored"))
"""Passed by few ticks: the first visit is the one to die at."""
