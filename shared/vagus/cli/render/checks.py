"""The doctor's findings, for people."""

from rich.text import Text

from vagus.cli.checks import Diagnosis
from vagus.cli.render.console import console, pairs


def shown(found: Diagnosis) -> None:
    """A line for each, and what to mend under those that need it."""
    rows: list[tuple[str, Text]] = []
    for finding in found.findings:
        mark = ("ok    ", "green") if finding.ok else ("wrong ", "bold red")
        text = Text.assemble(mark, finding.text)
        if finding.mend:
            text.append(f"\n      → {finding.mend}", style="yellow")
        rows.append((finding.name, text))
    out = console()
    out.print(pairs(*rows))
    wrong = sum(not finding.ok for finding in found.findings)
    if wrong:
        out.print(Text(f"\n{wrong} of {len(rows)} checks found something to mend", style="bold red"))
    else:
        out.print(Text("\nall is well", style="bold green"))
