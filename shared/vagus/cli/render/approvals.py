"""Approval tickets, for people."""

from rich.text import Text

from vagus.cli.render.console import console, pairs
from vagus.cli.render.text import clean, short_json
from vagus.contract.approvals import ApprovalTicket, TicketState

_STATES = {
    TicketState.APPROVED: ("approved", "green"),
    TicketState.DENIED: ("denied", "red"),
    TicketState.TIMEOUT: ("timed out", "yellow"),
    TicketState.WITHDRAWN: ("withdrawn", "dim"),
    TicketState.PENDING: ("pending", "yellow"),
}


def listed(tickets: list[ApprovalTicket]) -> None:
    """What waits."""
    out = console()
    if not tickets:
        out.print(Text("nothing waits for a person", style="dim"))
    for ticket in tickets:
        out.print(Text(ticket.approval_id, style="bold yellow"))
        out.print(card(ticket))
        out.print()


def card(ticket: ApprovalTicket) -> object:
    """One ticket: what would be done, and until when it can be answered."""
    return pairs(
        ("  call", Text.assemble((ticket.tool_name, "bold"), f"  {short_json(ticket.arguments, 400)}")),
        ("  needs", clean(ticket.capability)),
        ("  where", f"{ticket.session_id}/{ticket.branch_id}"),
        ("  risk", str(ticket.risk)),
        ("  until", ticket.expires_at),
    )


def answered(ticket: ApprovalTicket) -> None:
    """A ticket with its answer."""
    word, style = _STATES[ticket.state]
    console().print(
        Text.assemble(
            (word, style),
            f": {ticket.tool_name} for {clean(ticket.capability)} in {ticket.session_id}/{ticket.branch_id}",
            f" (by {clean(ticket.resolved_by or 'nobody')})",
        )
    )
