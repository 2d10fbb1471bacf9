"""The sessions' policies, as the kernel publishes them: a bounded cache."""

from collections import OrderedDict
from typing import Final

import anyio

from vagus.contract.errors import Unavailable
from vagus.contract.messages import decode
from vagus.contract.policy import PolicyInForce, PolicySet
from vagus.runtime.bucket import Bucket

CACHED: Final = 10_000
"""Sessions whose policy is held ready; about 2 KB each."""
WAIT_S: Final = 5.0
"""For a version that the kernel has named and not yet published; then the request is tried again."""
LOOK_FIRST_S: Final = 0.01
LOOK_MOST_S: Final = 0.5


class Policies:
    """Policies by session.

    A request names the version it was made under, so a policy in the cache that is as new is right; `forget`,
    called at every change, makes an old request meet the new policy too.
    """

    def __init__(self, bucket: Bucket, *, cached: int = CACHED, wait_s: float = WAIT_S) -> None:
        self._bucket = bucket
        self._cached: OrderedDict[str, PolicyInForce] = OrderedDict()
        self._most = cached
        self._wait_s = wait_s

    def __len__(self) -> int:
        return len(self._cached)

    def forget(self, session: str) -> None:
        """Read the session's policy anew when it is needed next."""
        self._cached.pop(session, None)

    def forget_all(self) -> None:
        """Read all policies anew: changes may have been missed."""
        self._cached.clear()

    async def at_least(self, session: str, version: int) -> PolicySet:
        """The session's policy in force, which is `version` or later; waits for it.

        Raises:
            Unavailable: It has not been published in time.
            Malformed: What stands in its place is no policy.
        """
        cached = self._cached.get(session)
        if cached is not None and cached.version >= version:
            self._cached.move_to_end(session)
            return cached.policy
        look_again_s = LOOK_FIRST_S
        with anyio.move_on_after(self._wait_s):
            while True:
                entry = await self._bucket.get(session, fresh=True)
                if entry is not None:
                    found = decode(entry.value, PolicyInForce)
                    if found.version >= version:
                        self._keep(session, found)
                        return found.policy
                await anyio.sleep(look_again_s)
                look_again_s = min(look_again_s * 2, LOOK_MOST_S)
        raise Unavailable(f"policy version {version} of session {session} is not published")

    def _keep(self, session: str, found: PolicyInForce) -> None:
        self._cached[session] = found
        self._cached.move_to_end(session)
        if len(self._cached) > self._most:
            self._cached.popitem(last=False)
