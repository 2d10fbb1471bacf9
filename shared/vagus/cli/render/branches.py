"""Branches, for people."""

from typing import TYPE_CHECKING

from rich.text import Text

from vagus.cli.render.console import console, table
from vagus.contract.sessions import BranchInfo, BranchMergeResult

if TYPE_CHECKING:
    from rich.console import RenderableType


def created(branch: BranchInfo) -> None:
    """A branch that exists now."""
    console().print(
        f"branch {branch.branch_id} forked from {branch.parent_branch} at event {branch.fork_sequence}"
    )


def listed(branches: list[BranchInfo]) -> None:
    """All branches."""
    console().print(branch_table(branches))


def merged(result: BranchMergeResult) -> None:
    """A branch that is read-only now."""
    console().print(
        f"merged {result.source_branch} (at event {result.source_head_sequence}) into "
        f"{result.target_branch} (now at event {result.target_head_sequence})"
    )


def branch_table(branches: list[BranchInfo]) -> "RenderableType":
    """Branches as a table."""
    rows: list[tuple[str | Text, ...]] = [
        (
            Text(branch.branch_id, style="bold"),
            str(branch.head_sequence),
            "" if branch.parent_branch is None else f"{branch.parent_branch} at {branch.fork_sequence}",
            "" if branch.merged_into is None else f"merged into {branch.merged_into}",
        )
        for branch in branches
    ]
    return table("BRANCH", "EVENTS", "FORKED FROM", "", rows=rows, empty="no branches")
