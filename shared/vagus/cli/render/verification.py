"""The check of a log, for people."""

from rich.text import Text

from vagus.cli.render.console import console, table
from vagus.cli.render.text import clean
from vagus.sdk.verification import Verification


def shown(found: Verification) -> None:
    """Branches with their last digests, and the verdict."""
    out = console()
    rows: list[tuple[str | Text, ...]] = [
        (Text(branch.branch_id, style="bold"), str(branch.events), branch.digest) for branch in found.branches
    ]
    out.print(table("BRANCH", "EVENTS", "LAST DIGEST", rows=rows, empty="no events"))
    for problem in found.problems:
        out.print(Text(f"✗ {clean(problem)}", style="red"))
    if found.ok:
        out.print(
            Text.assemble(
                ("✓ ", "green"),
                f"{found.events} events in {found.commits} commits: unbroken, unchanged, without a gap",
            )
        )
