"""Sessions, for people."""

from rich.text import Text

from vagus.cli.render.branches import branch_table
from vagus.cli.render.console import console, pairs, table
from vagus.cli.render.text import clean
from vagus.cli.views import BudgetView, Closed, Place, SessionView
from vagus.contract.erasures import Erasure
from vagus.contract.replies import LogPlace
from vagus.contract.sessions import SessionManifest, SessionSummary
from vagus.contract.state import AgentStateVector, BudgetState, OperatingMode

MODE_STYLES = {
    OperatingMode.EXPLORE: "blue",
    OperatingMode.EXECUTE: "green",
    OperatingMode.VERIFY: "cyan",
    OperatingMode.RECOVER: "red",
    OperatingMode.ASK_HUMAN: "yellow",
    OperatingMode.SLEEP: "dim",
}


def created(manifest: SessionManifest) -> None:
    """A session that exists now."""
    out = console()
    out.print(Text.assemble("session ", (manifest.session_id, "bold"), f" of {clean(manifest.owner)}"))
    out.print(pairs(("created", manifest.created_at), ("workspace", manifest.workspace_root)))
    out.print(Text(f'next: vagus run {manifest.session_id} "what to do"', style="dim"))


def listed(sessions: list[SessionSummary]) -> None:
    """All sessions."""
    rows: list[tuple[str | Text, ...]] = [
        (
            Text(session.manifest.session_id, style="bold"),
            clean(session.manifest.owner, 24),
            _standing(session),
            str(session.tick_count),
            str(len(session.branches)),
            Text(str(session.pending_approvals), style="yellow" if session.pending_approvals else "dim"),
            session.updated_at[:19].replace("T", " "),
        )
        for session in sessions
    ]
    columns = ("SESSION", "OWNER", "MODE", "TICKS", "BRANCHES", "APPROVALS", "UPDATED (UTC)")
    console().print(table(*columns, rows=rows, empty="no sessions yet: vagus session create NAME"))


def _standing(session: SessionSummary) -> Text:
    if session.archived:
        return Text("closed, archived" if session.closed else "archived", style="dim")
    return Text("closed", style="dim") if session.closed else mode_text(session.mode)


def shown(view: SessionView) -> None:
    """One session."""
    out = console()
    state = view.state
    out.print(
        pairs(
            ("session", Text(view.session_id, style="bold")),
            ("owner", clean(view.manifest.owner)),
            ("created", view.manifest.created_at),
            ("workspace", view.manifest.workspace_root),
            ("model", clean(view.manifest.model_routing.primary_model)),
            ("mode", Text("closed", style="dim") if view.closed else mode_text(view.mode)),
            (
                "state",
                _state_line(state),
            ),
            ("budget", budget_line(state.budget)),
            ("ticks", str(view.tick_count)),
            ("approvals", f"{view.pending_approvals} pending" if view.pending_approvals else "none pending"),
            ("policy", f"version {view.policy_version} (vagus policy show {view.session_id})"),
        )
    )
    out.print()
    out.print(branch_table(list(view.branches)))


def closed(what: Closed) -> None:
    """A session that can only be read from now on."""
    console().print(f"session {what.session_id} is closed")


def erased(tombstone: Erasure) -> None:
    """What is left of a session."""
    out = console()
    out.print(
        Text.assemble("session ", (tombstone.session_id, "bold"), " is erased; its id is never used again")
    )
    out.print(
        pairs(
            ("events", f"{tombstone.events}, the last of main {tombstone.digest or 'unknown'}"),
            ("ordered", f"{tombstone.ordered_at} by {clean(tombstone.actor)}"),
            ("reason", clean(tombstone.reason) or "none given"),
            ("erased", tombstone.erased_at or "not yet"),
        )
    )


def cancelled(place: Place) -> None:
    """Nothing runs there any more."""
    console().print(f"cancelled what ran or waited on {place.session_id}/{place.branch_id}")


def placed(place: LogPlace) -> None:
    """Where a log is now."""
    where = "archived" if place.archived else "not archived"
    console().print(f"session {place.session_id} is {where} · {place.stream_sequence} commits")


def restored(place: Place) -> None:
    """A branch with an earlier state."""
    console().print(f"{place.session_id}/{place.branch_id} has the state of the checkpoint")


def budget(view: BudgetView) -> None:
    """What is left."""
    console().print(f"{view.session_id}/{view.branch_id}: {budget_line(view.budget)}")


def budget_line(budget: BudgetState) -> str:
    """A budget on one line."""
    return (
        f"{budget.tokens_remaining:,} tokens · {budget.tool_calls_remaining} tool calls · "
        f"{budget.time_remaining_ms / 1000:g} s · ${budget.cost_remaining_usd:g} · "
        f"{budget.error_budget_remaining} errors"
    )


def _state_line(state: AgentStateVector) -> str:
    return (
        f"progress {state.progress:g} · uncertainty {state.uncertainty:g} · risk {state.risk_level} · "
        f"error streak {state.error_streak}"
    )


def mode_text(mode: OperatingMode) -> Text:
    """A mode in its colour."""
    return Text(str(mode), style=MODE_STYLES[mode])
