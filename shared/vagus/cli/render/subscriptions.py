"""Subscriptions, for people."""

import msgspec
from rich.text import Text

from vagus.cli.render.console import console, table
from vagus.cli.render.text import clean
from vagus.contract.subscriptions import Filter
from vagus.sdk.subscriptions import SubscriptionStatus


class Deleted(msgspec.Struct, frozen=True, kw_only=True):
    """A subscription that is no more."""

    name: str
    deleted: bool


def listed(subscriptions: list[SubscriptionStatus]) -> None:
    """All of them, a line each."""
    rows: list[tuple[str | Text, ...]] = [
        (
            Text(each.name, style="bold"),
            str(each.subscribers),
            str(each.waiting),
            str(each.open),
            Text(str(each.failing), style="red" if each.failing else ""),
            each.created_at[:19].replace("T", " "),
            clean(wanted(each.filter), 80),
        )
        for each in subscriptions
    ]
    columns = ("NAME", "USED BY", "WAITING", "OPEN", "FAILING", "SINCE (UTC)", "WANTS")
    console().print(table(*columns, rows=rows, empty="no durable subscriptions"))


def deleted(what: Deleted) -> None:
    """Gone."""
    console().print(f"deleted: {what.name}")


def wanted(each: Filter) -> str:
    """A filter in words."""
    fields = (("session", each.sessions), ("branch", each.branches), ("kind", each.kinds))
    parts = [f"{name} {', '.join(values)}" for name, values in fields if values]
    parts += [f"owner {each.owner}"] if each.owner is not None else []
    return "; ".join(parts) or "everything"
