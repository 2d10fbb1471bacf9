"""The demo, for people."""

from typing import TYPE_CHECKING

from rich.rule import Rule
from rich.text import Text

from vagus.cli.render.approvals import card
from vagus.cli.render.branches import branch_table
from vagus.cli.render.console import console, pairs
from vagus.cli.render.text import clean
from vagus.contract.approvals import ApprovalTicket
from vagus.runtime.supervisor import Supervisor

if TYPE_CHECKING:
    from vagus.cli.play.program import Report


def opening(server: str) -> None:
    """What is about to happen."""
    what = f"at {server}" if server else "and a NATS server"
    console().print(Text(f"starting the four processes {what} in a temporary store …", style="dim"))


def ready(supervisor: Supervisor, seconds: float) -> None:
    """What runs."""
    names = ", ".join(child.name for child in supervisor.children)
    console().print(Text(f"ready in {seconds:.1f} s: {supervisor.url}, {names}", style="dim"))


def heading(title: str, words: str) -> None:
    """An act begins."""
    out = console()
    out.print()
    if out.is_terminal:
        out.print(Rule(Text.assemble((title, "bold"), (f"  {words}", "dim")), align="left", style="dim"))
    else:
        out.print(f"== {title}: {words}")


def asked(ticket: ApprovalTicket, *, at_terminal: bool) -> None:
    """What a person is asked."""
    out = console()
    out.print(Text("\n  the policy wants a person's word for this call:", style="yellow"))
    out.print(card(ticket))
    if not at_terminal:
        out.print(Text("  not asked at a terminal: the demo approves it by itself\n", style="yellow"))


def summary(report: "Report") -> None:
    """What happened, and whether the log is whole."""
    heading("Summary", "what the log says")
    out = console()
    by = "at the terminal" if report.approved_by == "terminal" else "by the demo itself"
    calls = f"{report.tool_calls}: {report.calls_ok} done, {report.calls_refused} refused"
    out.print(
        pairs(
            ("answer", clean(report.text)),
            ("turns", str(report.ticks)),
            ("tool calls", calls),
            ("approval", f"{'given' if report.approved else 'refused'} {by}"),
            ("log", f"{report.events} events in {report.commits} commits"),
            ("took", f"{report.seconds:.1f} s, {report.ready_s:.1f} s of it to start"),
        )
    )
    out.print()
    out.print(branch_table(list(report.branches)))
    out.print()
    if report.verified:
        out.print(Text.assemble(("✓ verified", "bold green"), ": every digest holds, no event is missing"))
    for problem in report.problems:
        out.print(Text(f"✗ {clean(problem)}", style="bold red"))
    out.print(Text("next: vagus up, then vagus --help", style="dim"))
