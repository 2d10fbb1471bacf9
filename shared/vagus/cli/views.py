"""What verbs show that no single call of the client gives."""

from typing import TYPE_CHECKING

import msgspec

from vagus.contract.policy import PolicySet
from vagus.contract.sessions import BranchInfo, SessionManifest
from vagus.contract.state import AgentStateVector, BudgetState, OperatingMode

if TYPE_CHECKING:
    from vagus.sdk.session import Session


class SessionView(msgspec.Struct, frozen=True, kw_only=True):
    """A session as `session show` tells of it."""

    session_id: str
    manifest: SessionManifest
    mode: OperatingMode
    """Of main, as is the state."""
    state: AgentStateVector
    tick_count: int
    branches: tuple[BranchInfo, ...]
    pending_approvals: int
    policy_version: int
    policy: PolicySet
    """The one in force; the manifest has the first."""
    closed: bool
    updated_at: str
    archived: bool = False


class BudgetView(msgspec.Struct, frozen=True, kw_only=True):
    """What a branch may still spend."""

    session_id: str
    branch_id: str
    budget: BudgetState


class Place(msgspec.Struct, frozen=True, kw_only=True):
    """Where something was done."""

    session_id: str
    branch_id: str


class Closed(msgspec.Struct, frozen=True, kw_only=True):
    """A session that was closed."""

    session_id: str
    reason: str


async def view(session: "Session") -> SessionView:
    """A session with its policy and the state of main."""
    summary, policy, main = await session.summary(), await session.policy(), await session.estimate()
    return SessionView(
        session_id=session.id,
        manifest=summary.manifest,
        mode=main.mode,
        state=main.state,
        tick_count=summary.tick_count,
        branches=summary.branches,
        pending_approvals=summary.pending_approvals,
        policy_version=policy.version,
        policy=policy.policy,
        closed=summary.closed,
        updated_at=summary.updated_at,
        archived=summary.archived,
    )
