"""A branch with what it inherited: its ancestors' events up to each fork, then its own."""

import msgspec

from vagus.contract.errors import Malformed
from vagus.contract.events import BranchCreated, EventRecord
from vagus.contract.ids import MAIN
from vagus.runtime.eventlog import EventLog


class Stretch(msgspec.Struct, frozen=True):
    """The part of a branch that belongs to a lineage."""

    branch_id: str
    until: int | None
    """The last sequence that belongs to it; None: all there are."""


async def lineage(log: EventLog, session_id: str, branch_id: str) -> list[Stretch]:
    """The stretches that lead to the present end of a branch, the root's first; from the log alone.

    A fork at 0 inherits nothing and is a root. Raises what `EventLog.read` raises, and `Malformed` if the
    branches of the log fork from each other in a circle.
    """
    stretches = [Stretch(branch_id, None)]
    seen = {branch_id}
    while (parent := await _parent(log, session_id, stretches[0].branch_id)) is not None:
        if parent.branch_id in seen:
            raise Malformed(f"branch {parent.branch_id} of session {session_id} descends from itself")
        seen.add(parent.branch_id)
        stretches.insert(0, parent)
    return stretches


async def read_lineage(
    log: EventLog, session_id: str, branch_id: str, from_sequence: int = 1, limit: int = 200
) -> list[EventRecord]:
    """At most `limit` events of a branch and its ancestors.

    `from_sequence` counts on the branch itself: from 1 the ancestors come first, beginning with the root's
    first event; from a later one they are behind. Raises as `lineage`.
    """
    if from_sequence > 1:
        return await log.read(session_id, branch_id, from_sequence=from_sequence, limit=limit)
    events: list[EventRecord] = []
    for stretch in await lineage(log, session_id, branch_id):
        left = limit - len(events)
        if left <= 0:
            break
        most = left if stretch.until is None else min(left, stretch.until)
        events += await log.read(session_id, stretch.branch_id, limit=most)
    return events


async def _parent(log: EventLog, session_id: str, branch_id: str) -> Stretch | None:
    for record in await log.read(session_id, branch_id, limit=1):
        match record.kind:
            case BranchCreated(fork_point_seq=fork, from_branch=parent) if fork > 0:
                return Stretch(parent or MAIN, fork)
            case _:
                return None
    return None
