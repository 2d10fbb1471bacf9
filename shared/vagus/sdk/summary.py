"""Brings a session's entry in the registry up to its log: the registry may be a second behind."""

from collections.abc import Sequence

import msgspec
from msgspec.structs import replace

from vagus.contract.errors import Malformed
from vagus.contract.events import (
    ApprovalRequested,
    ApprovalResolved,
    BranchCreated,
    BranchMerged,
    Custom,
    EventRecord,
    Heartbeat,
    SessionClosed,
    StateEstimated,
)
from vagus.contract.ids import MAIN
from vagus.contract.sessions import BranchInfo, SessionManifest, SessionSummary
from vagus.contract.state import OperatingMode


def advanced(
    summary: SessionSummary | None, events: Sequence[EventRecord], stream_sequence: int
) -> SessionSummary:
    """The summary after one more commit; None: before the session's first."""
    current = summary or _founded(events)
    branches = {branch.branch_id: branch for branch in current.branches}
    for event in events:
        branch = branches.get(event.branch_id) or _new(event.branch_id)
        match event.kind:
            case BranchCreated(fork_point_seq=fork, from_branch=parent):
                branch = replace(branch, fork_sequence=fork, parent_branch=parent)
            case BranchMerged(source_branch_id=source) if source in branches:
                branches[source] = replace(branches[source], merged_into=event.branch_id)
            case _:
                current = _after(current, event)
        branches[event.branch_id] = replace(branch, head_sequence=event.sequence)
    return replace(
        current,
        branches=tuple(sorted(branches.values(), key=lambda branch: branch.branch_id)),
        stream_sequence=stream_sequence,
        updated_at=events[-1].timestamp,
    )


def _after(summary: SessionSummary, event: EventRecord) -> SessionSummary:
    match event.kind:
        case StateEstimated(mode=mode) if event.branch_id == MAIN:
            return replace(summary, mode=mode)
        case Heartbeat():
            return replace(summary, tick_count=summary.tick_count + 1)
        case ApprovalRequested():
            return replace(summary, pending_approvals=summary.pending_approvals + 1)
        case ApprovalResolved():
            return replace(summary, pending_approvals=max(0, summary.pending_approvals - 1))
        case Custom(event_type="vagus.policy_set", data={"version": int(version)}):
            return replace(summary, policy_version=version)
        case SessionClosed():
            return replace(summary, closed=True)
        case _:
            return summary


def _founded(events: Sequence[EventRecord]) -> SessionSummary:
    """What a session is before anything has happened in it."""
    for event in events:
        match event.kind:
            case Custom(event_type="vagus.manifest_set", data={"manifest": manifest}):
                return SessionSummary(
                    manifest=msgspec.convert(manifest, SessionManifest),
                    mode=OperatingMode.EXPLORE,
                    tick_count=0,
                    branches=(),
                    pending_approvals=0,
                    policy_version=0,
                    closed=False,
                    updated_at=event.timestamp,
                    stream_sequence=0,
                )
            case _:
                continue
    raise Malformed("the log does not begin with a session's manifest")


def _new(branch_id: str) -> BranchInfo:
    return BranchInfo(
        branch_id=branch_id, parent_branch=None, fork_sequence=0, head_sequence=0, merged_into=None
    )
