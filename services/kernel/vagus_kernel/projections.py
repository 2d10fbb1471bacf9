"""What others read instead of the log: the registry's summary and the policy. Rebuilt from state at need."""

import logging

import anyio
import msgspec

from vagus.contract import limits
from vagus.contract.errors import Malformed, VagusError
from vagus.contract.ids import MAIN
from vagus.contract.messages import decode
from vagus.contract.policy import PolicyInForce
from vagus.contract.sessions import SessionSummary
from vagus.runtime import clock
from vagus_kernel.ledger import Ledger
from vagus_kernel.ports import Ports
from vagus_kernel.state import Session

_log = logging.getLogger(__name__)


class Projections:
    """Of one session."""

    def __init__(self, ports: Ports, session_id: str) -> None:
        self._ports = ports
        self._session_id = session_id
        self._dirty = False
        self._written_at = 0.0
        self._policy_version = 0

    @property
    def dirty(self) -> bool:
        """Whether the registry is behind."""
        return self._dirty

    def touch(self) -> None:
        """The session has changed."""
        self._dirty = True

    def has_policy_of(self, session: Session) -> bool:
        """Whether gates find the policy that a state has."""
        return self._policy_version >= session.policy_version

    async def policy(self, session: Session) -> None:
        """Make sure that gates find the present policy; before any of them is asked about it."""
        if session.policy is None or self.has_policy_of(session):
            return
        entry = PolicyInForce(version=session.policy_version, policy=session.policy)
        await self._ports.policies.put(self._session_id, msgspec.json.encode(entry))
        self._policy_version = session.policy_version

    async def known_policy(self, session: Session) -> None:
        """After activation: write the policy only if the bucket does not have it."""
        kept = await self._ports.policies.get(self._session_id)
        if kept is not None:
            try:
                found = decode(kept.value, PolicyInForce)
                if found == PolicyInForce(version=session.policy_version, policy=found.policy):
                    self._policy_version = found.version
            except Malformed as error:
                _log.warning("the policy of session %s is published anew: %s", self._session_id, error)
        await self.policy(session)

    async def flush(self, ledger: Ledger, *, now: bool = False) -> None:
        """Write the summary if it is behind: at most once a second, or `now`."""
        session = ledger.session
        if session is None or session.manifest is None or not self._dirty:
            return
        time = anyio.current_time()
        if not now and time - self._written_at < limits.PROJECTION_S:
            return
        main = session.branches[MAIN]
        summary = SessionSummary(
            manifest=session.manifest,
            mode=main.mode,
            tick_count=session.tick_count,
            branches=tuple(
                branch.info() for branch in sorted(session.branches.values(), key=lambda b: b.branch_id)
            ),
            pending_approvals=sum(branch.pending for branch in session.branches.values()),
            policy_version=session.policy_version,
            closed=session.closed,
            updated_at=clock.now(),
            stream_sequence=ledger.stream_sequence,
            archived=ledger.archived,
        )
        try:
            await self._ports.sessions.put(self._session_id, msgspec.json.encode(summary))
        except VagusError as error:
            _log.warning("the registry's entry of session %s is late: %s", self._session_id, error)
            return
        self._written_at, self._dirty = time, False
