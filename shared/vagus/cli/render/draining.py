"""Processes that were drained, for people."""

from typing import TYPE_CHECKING

from rich.text import Text

from vagus.cli.render.console import console
from vagus.cli.render.text import clean

if TYPE_CHECKING:
    from vagus.cli.drain import Drained


def listed(ended: "list[Drained]") -> None:
    """A line for each."""
    out = console()
    if not ended:
        out.print(Text("no processes", style="dim"))
    for one in ended:
        if one.error:
            out.print(Text.assemble(("✗ ", "red"), clean(one.process), f"  {clean(one.error)}"))
        else:
            out.print(
                Text.assemble(("✓ ", "green"), clean(one.process), f"  has ended, in {one.seconds:.1f} s")
            )
