"""Schedules, for people."""

from rich.text import Text

from vagus.cli.render.console import console, table
from vagus.cli.render.text import clean
from vagus.contract.schedules import Dropped, Scheduled, Timing


def added(scheduled: Scheduled) -> None:
    """When it will be, and how to take it back."""
    place = f"{scheduled.session_id}/{scheduled.branch_id}"
    console().print(
        Text.assemble(
            ("scheduled", "green"),
            f": {place} ticks {timing(scheduled.when)}",
            f", next at {scheduled.due}" if scheduled.when.repeats else "",
            (f" · vagus schedule drop {scheduled.session_id} {scheduled.schedule_id}", "dim"),
        )
    )


def listed(schedules: list[Scheduled]) -> None:
    """A line each."""
    rows: list[tuple[str | Text, ...]] = [
        (
            Text(scheduled.schedule_id, style="bold"),
            scheduled.due,
            timing(scheduled.when),
            scheduled.branch_id,
            clean(scheduled.objective, 60),
        )
        for scheduled in schedules
    ]
    console().print(
        table("id", "next", "when", "branch", "objective", rows=rows, empty="nothing is scheduled")
    )


def dropped(what: Dropped) -> None:
    """Whether there was one."""
    word, style = ("dropped", "green") if what.dropped else ("not there", "yellow")
    console().print(Text.assemble((word, style), f": {what.schedule_id}"))


def timing(when: Timing) -> str:
    """A timing in words."""
    if when.at is not None:
        return f"at {when.at}"
    return f"by cron {when.cron}" if when.cron is not None else f"every {when.every_s:g} s"
