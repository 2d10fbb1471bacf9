"""Small questions to a session's log."""

from vagus.contract.errors import BranchNotFound, SessionNotFound
from vagus.contract.events import EventRecord
from vagus.runtime.eventlog import EventLog
from vagus.runtime.lineage import read_lineage


async def check_session(log: EventLog, session_id: str) -> None:
    """Raise `SessionNotFound` unless the session exists: a log without a commit is none."""
    if await log.head(session_id) == 0:
        raise SessionNotFound(f"session not found: {session_id}")


async def read_branch(
    log: EventLog, session_id: str, branch_id: str, from_sequence: int, limit: int, *, lineage: bool
) -> list[EventRecord]:
    """At most `limit` events of a branch from `from_sequence` on; with `lineage` its ancestors' before them.

    Raises `SessionNotFound` or `BranchNotFound`.
    """
    if lineage:
        events = await read_lineage(log, session_id, branch_id, from_sequence, limit)
    else:
        events = await log.read(session_id, branch_id, from_sequence=from_sequence, limit=limit)
    if not events and not await log.read(session_id, branch_id, limit=1):
        await check_session(log, session_id)
        raise BranchNotFound(f"branch not found: {branch_id}")
    return events
