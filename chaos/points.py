"""The named points at which processes can be told to die, by the role of the process."""

from typing import Final

POINTS: Final[dict[str, tuple[str, ...]]] = {
    "kernel": (
        "kernel.before_commit",
        "kernel.committed_not_performed",
        "kernel.performed_not_acked",
        "kernel.due_taken",
        "kernel.due_stored",
        "kernel.archive_begun",
        "kernel.archive_copied",
        "kernel.archive_verified",
        "kernel.archive_recorded",
        "kernel.archive_removed",
        "kernel.restore_claimed",
        "kernel.restore_filled",
        "kernel.restore_recorded",
        "kernel.restore_opened",
        "kernel.erase_closed",
        "kernel.erase_noted",
        "kernel.erase_told",
        "kernel.erase_log_removed",
        "kernel.erase_swept",
        "kernel.erase_done",
    ),
    "gate": ("policygate.verdict_stored",),
    "runner": ("toolrunner.call_claimed", "toolrunner.tool_ended", "toolrunner.report_stored"),
    "approver": ("approver.ticket_resolved", "approver.resolution_stored"),
    "relay": ("relay.commits_read", "relay.batch_sent", "relay.batch_stored", "relay.standing_noted"),
}
"""All that the code passes; `tests/chaos/test_plan.py` looks that none is missing."""

_FEW: Final = ("approver.", "kernel.due_", "kernel.archive_", "kernel.restore_", "kernel.erase_")
RARE: Final = frozenset(name for names in POINTS.values() for name in names if name.startswith(_FEW))
"""Passed by few ticks: the first visit is the one to die at."""
