"""Claims of calls: before anything runs that may not be repeated, one runner has its name on it for good.

| a request whose claim            | idempotent tool    | any other tool                 |
|----------------------------------|--------------------|--------------------------------|
| does not stand                   | is claimed and run | is claimed and run             |
| is ours, from before             | has been answered  | has been answered              |
| is of a runner that lives        | is that runner's   | is that runner's               |
| is of a runner that is gone      | is claimed over    | is reported: "outcome unknown" |
| was taken to cancel it           | is reported        | is reported: "cancelled"       |

So a request that comes twice, however late the second one, runs once. That somebody lives who has claimed a
call is enough to drop a copy of its request: should that runner die, its own copy comes again, or the kernel
asks again. A copy that was delivered before may be that runner's own, which it let go of: it is kept until
the runner's lease could have lapsed.
"""

from typing import Final

import anyio
import msgspec

from vagus.contract import limits
from vagus.contract.claims import CANCELLED, Claim, claim_key
from vagus.contract.errors import Conflict, Unavailable
from vagus.contract.messages import ToolRequest, decode
from vagus.runtime import clock
from vagus.runtime.bucket import Bucket
from vagus.runtime.bus import Bus
from vagus.runtime.members import Members
from vagus_toolrunner import execution
from vagus_toolrunner.execution import Ending, NotRun

GONE_S: Final = 2 * limits.MEMBER_RENEW_S
"""How long a runner must be out of sight to be gone: after an outage of the server, leases come back late."""

SILENT_S: Final = limits.MEMBER_LEASE_S + limits.MEMBER_RENEW_S
"""A runner that is still in sight after so long has been heard of meanwhile."""


class NotOurs(Exception):
    """Another runner answers for the call, or has done so."""


class Claims:
    """Takes claims for one runner, whose lease has the key `holder`."""

    def __init__(self, bus: Bus, bucket: Bucket, holder: str, members: Members) -> None:
        self._bus = bus
        self._bucket = bucket
        self._holder = holder
        self._members = members
        self._unsettled: dict[str, bytes] = {}
        """Values that we asked to be stored, without an answer: whose claim reads so, it is ours."""

    async def take(self, request: ToolRequest, *, redelivered: bool, repeatable: bool) -> Ending | None:
        """Claim the call; None: it is ours to run, else what is to be reported without running it.

        Asking again after an error is safe. May take some seconds if the call is another runner's.

        Raises:
            Malformed: What stands there is no claim.
            NotOurs: It is for nobody here to run or report.
            Transient, OutcomeUnknown: Nothing is known yet; ask again.
        """
        key = claim_key(request.session_id, request.tool_run_id)
        standing, revision = await self._put(key, 0)
        while standing is not None:
            if standing.holder == CANCELLED:
                return execution.CANCELLED
            if standing.holder == self._holder or await self._lives(standing.holder, doubtful=redelivered):
                raise NotOurs
            if not repeatable:
                return NotRun(error=f"outcome unknown: the runner {standing.holder} vanished after the start")
            standing, revision = await self._put(key, revision)
        return None

    async def _put(self, key: str, revision: int) -> tuple[Claim | None, int]:
        """Store our claim in place of `revision` (0: none); returns the one that stands instead, if any."""
        fresh = msgspec.json.encode(Claim(holder=self._holder, taken_at=clock.now()))
        value = self._unsettled.setdefault(key, fresh)
        try:
            await (self._bucket.update(key, value, revision) if revision else self._bucket.create(key, value))
        except Conflict:
            entry = await self._bucket.get(key, fresh=True)
            if entry is None:
                raise Unavailable(f"the claim {key} came and went") from None
            if entry.value != value:
                del self._unsettled[key]
                return decode(entry.value, Claim), entry.revision
        del self._unsettled[key]
        return None, 0

    async def _lives(self, holder: str, *, doubtful: bool) -> bool:
        if holder in self._members.live:
            return not doubtful or not await self._seen_to_be(holder, there=False, within_s=SILENT_S)
        if await self._seen_to_be(holder, there=True, within_s=GONE_S):
            return True
        if not self._bus.connected:
            raise Unavailable(f"cannot see whether the runner {holder} lives")
        return False

    async def _seen_to_be(self, holder: str, *, there: bool, within_s: float) -> bool:
        with anyio.move_on_after(within_s):
            while (holder in self._members.live) is not there:
                await self._members.changed()
        return (holder in self._members.live) is there
