"""Tools that keep a ledger of their runs outside of NATS, for whoever checks afterwards what really ran.

Runners load it by `VAGUS_TOOLS=…/chaos/tools.py`; `CHAOS_LEDGER` names the file, the same for all of them.
A run appends a line when it starts and one when it ends; one that was cut off has no end.
"""

import os
import time
from typing import Final, Literal

import anyio
import msgspec

import vagus

LEDGER: Final = "CHAOS_LEDGER"
TAG: Final = "ledger"
"""Tells the checker that a tool keeps the ledger."""


class Entry(msgspec.Struct, frozen=True, kw_only=True):
    """A line of the ledger."""

    tool_run_id: str
    tool: str
    at: float
    """Seconds since the epoch, by the clock of the runner."""
    phase: Literal["start", "end"]
    idempotent: bool
    grant: bool
    """It was run by a runner, as a tool run: so there must be a grant."""
    session_id: str
    """Whose call it is: no log tells of those of a session that was erased."""


@vagus.tool(name="chaos.put", idempotent=True, tags=(TAG,), capabilities=("chaos:put:{key}",))
async def put(context: vagus.ToolContext, key: str, seconds: float = 0.0) -> str:
    """Do what may be done again."""
    _note(context, "chaos.put", "start", idempotent=True)
    await anyio.sleep(seconds)
    _note(context, "chaos.put", "end", idempotent=True)
    return key


@vagus.tool(name="chaos.pay", tags=(TAG,), capabilities=("chaos:pay:{key}",))
async def pay(context: vagus.ToolContext, key: str, seconds: float = 0.0) -> str:
    """Do what must never be done twice."""
    _note(context, "chaos.pay", "start")
    await anyio.sleep(seconds)
    _note(context, "chaos.pay", "end")
    return key


@vagus.tool(name="chaos.look", read_only=True, tags=(TAG,), capabilities=("chaos:look:{key}",))
async def look(context: vagus.ToolContext, key: str, seconds: float = 0.0) -> str:
    """Change nothing, so that it runs without a claim, and again after a crash."""
    _note(context, "chaos.look", "start", idempotent=True)
    await anyio.sleep(seconds)
    _note(context, "chaos.look", "end", idempotent=True)
    return key


@vagus.tool(name="chaos.crawl", tags=(TAG,), capabilities=("chaos:crawl:{key}",), timeout_secs=120)
def crawl(context: vagus.ToolContext, key: str, seconds: float) -> str:
    """Take long, in a thread, telling of the progress, until somebody cancels."""
    _note(context, "chaos.crawl", "start")
    until = time.monotonic() + seconds
    while time.monotonic() < until and not context.cancelled:
        context.emit({"left_s": round(until - time.monotonic(), 1)})
        time.sleep(min(0.1, seconds))
    _note(context, "chaos.crawl", "end")
    return key


@vagus.tool(name="chaos.fail", tags=(TAG,), capabilities=("chaos:fail:{key}",))
async def fail(context: vagus.ToolContext, key: str) -> None:
    """Run to an end that is none of the good ones."""
    _note(context, "chaos.fail", "start")
    _note(context, "chaos.fail", "end")
    raise vagus.ToolFailure(f"{key} was to fail", 3)


def _note(
    context: vagus.ToolContext, tool: str, phase: Literal["start", "end"], *, idempotent: bool = False
) -> None:
    """Append one line in one write: runners write at the same time, and may die right after."""
    entry = Entry(
        tool_run_id=context.tool_run_id,
        tool=tool,
        at=time.time(),
        phase=phase,
        idempotent=idempotent,
        grant=bool(context.tool_run_id),
        session_id=context.session_id,
    )
    ledger = os.open(os.environ[LEDGER], os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    try:
        os.write(ledger, msgspec.json.encode(entry) + b"\n")
    finally:
        os.close(ledger)
