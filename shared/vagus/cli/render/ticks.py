"""What a tick did, for people."""

from rich.text import Text

from vagus.cli.render.console import console
from vagus.cli.render.sessions import mode_text
from vagus.cli.render.text import block, clean, short_json
from vagus.contract.sessions import TickOutput, ToolResult
from vagus.contract.tools import Failure

_REASONS = {
    "completed": "the model has answered",
    "tool_calls": "tools were called; `vagus run` goes on from here",
    "awaiting_approval": "a person is asked",
    "asleep": "the branch sleeps: give it a new objective",
    "error": "ended by an error",
    "cancelled": "cancelled",
}


def output(result: TickOutput) -> None:
    """The words, the tool calls, what waits, and how it ended."""
    out = console()
    if result.text:
        out.print(Text(block(result.text)))
    for call in result.tool_results:
        out.print(_call(call))
    for ticket in result.pending_approvals:
        out.print(
            Text.assemble(
                ("? ", "yellow"),
                f"{ticket.tool_name} needs approval for {clean(ticket.capability)}: ",
                (f"vagus approvals approve {ticket.approval_id}", "bold"),
            )
        )
    if result.error is not None:
        out.print(Text(f"✗ {clean(result.error)}", style="red"))
    out.print(
        Text.assemble(
            (_REASONS.get(result.reason, result.reason), "dim"),
            (" · ", "dim"),
            mode_text(result.mode),
            (f" · progress {result.state.progress:g} · event {result.last_sequence} ", "dim"),
            (f"of {result.session_id}/{result.branch_id}", "dim"),
        )
    )


def _call(call: ToolResult) -> Text:
    if call.status == "ok":
        value = getattr(call.outcome, "output", None)
        return Text.assemble(("✓ ", "green"), (call.tool_name, "bold"), f"  {short_json(value)}")
    if call.status == "pending":
        return Text.assemble(("… ", "yellow"), (call.tool_name, "bold"), "  waits")
    why = call.outcome.error if isinstance(call.outcome, Failure) else (call.error or call.status)
    return Text.assemble(("✗ ", "red"), (call.tool_name, "bold"), f"  {clean(why, 200)}")
