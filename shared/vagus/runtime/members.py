"""Who lives: every process holds a lease in the bucket of members and renews it; others watch.

Keys: `kernel.<id>`, `policygate.<id>`, `approver.<id>`, `relay.<id>`, `runner.<pool>.<id>`. Which kernel owns
which partition, and which relay which session, follows from those that live alone. That is an optimisation:
two that disagree for a moment do no harm.
"""

import asyncio
import logging
import math
from collections.abc import AsyncIterator, Callable, Collection, Mapping
from contextlib import asynccontextmanager
from types import TracebackType
from typing import Final, Self

import anyio
import blake3
import msgspec
from anyio.abc import TaskStatus

from vagus.contract import limits, streams
from vagus.contract.errors import OutcomeUnknown, Unavailable, VagusError
from vagus.contract.json import Json
from vagus.contract.subjects import Subjects
from vagus.runtime import clock
from vagus.runtime.bucket import Bucket, CaughtUp, Deleted, Entry
from vagus.runtime.bus import Bus

log = logging.getLogger("vagus.members")

EXPIRY_CHECK_S: Final = 0.5
RELEASE_TIMEOUT_S: Final = 1.0
ASK_TIMEOUT_S: Final = 1.0


class Lease:
    """Says that we live: `async with Lease(bus, subjects, "kernel.k1"): ...`.

    Taken at entry (one left behind under the same key is taken over), renewed every `limits.MEMBER_RENEW_S`
    and after each reconnect, removed at exit unless another has taken it over.

    Args:
        bus: The connection.
        subjects: The names.
        key: Process kind and instance.
        body: What others should know of us; `since_ns`, the time of our beginning, is added.
    """

    def __init__(
        self, bus: Bus, subjects: Subjects, key: str, body: Mapping[str, Json] | None = None
    ) -> None:
        self._bus = bus
        self._bucket = Bucket(bus, subjects.named(streams.MEMBERS))
        self._key = key
        self._body = msgspec.json.encode({"since_ns": clock.now_ns(), **(body or {})})
        self._timer: asyncio.TimerHandle | None = None
        self._forget_hook: Callable[[], None] | None = None

    async def __aenter__(self) -> Self:
        try:
            await self._bucket.put(self._key, self._body)
        except (OutcomeUnknown, Unavailable) as error:  # a cluster may be choosing a leader
            log.info("the lease %s is taken a little later: %s", self._key, error.message)
        self._forget_hook = self._bus.on_reconnect(self._renew)
        self._tick()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._forget_hook is not None:
            self._forget_hook()
        if self._timer is not None:
            self._timer.cancel()
        with anyio.move_on_after(RELEASE_TIMEOUT_S, shield=True):
            try:
                await self._release()
            except VagusError as failure:
                log.info("the lease %s is left to expire: %s", self._key, failure.message)

    async def _release(self) -> None:
        held = await self._bucket.get(self._key, fresh=True)
        if held is not None and held.value == self._body:  # else it is the lease of another of our name
            await self._bucket.delete(self._key)

    def _tick(self) -> None:
        self._timer = asyncio.get_running_loop().call_later(limits.MEMBER_RENEW_S, self._tick)
        self._renew()

    def _renew(self) -> None:
        self._bucket.put_nowait(self._key, self._body)


class Members:
    """The live view that `members` gives."""

    def __init__(self, bus: Bus, bucket: Bucket) -> None:
        self._bus = bus
        self._bucket = bucket
        self._seen: dict[str, _Sign] = {}
        self._heard = anyio.current_time()
        self._led_since = math.inf
        self._live: dict[str, Json] = {}
        self._changed = asyncio.Event()

    @property
    def live(self) -> Mapping[str, Json]:
        """The bodies of those that live, by key. A picture of this moment: it does not change any more."""
        return self._live

    async def changed(self) -> None:
        """Wait until `live` is another; returns at once if it changed while nobody waited."""
        await self._changed.wait()
        self._changed.clear()

    async def follow(self, pattern: str, *, task_status: TaskStatus[None]) -> None:
        """Keep the view up to date; started when it is."""
        async with self._bucket.watch(pattern) as changes:
            async for change in changes:
                if isinstance(change, CaughtUp):
                    self._changed.clear()
                    task_status.started()
                elif isinstance(change, Deleted):
                    self._hear()
                    self._drop(change.key)
                else:
                    self._hear()
                    self._keep(change)

    async def expire(self) -> None:
        """Drop those whose lease was not renewed, as far as it could be; without a connection nobody is."""
        while True:
            began = anyio.current_time()
            await anyio.sleep(EXPIRY_CHECK_S)
            if anyio.current_time() - began > EXPIRY_CHECK_S + limits.MEMBER_RENEW_S:
                self.forgive()  # it was we who stood still
            elif self._bus.connected:
                await self._judge()

    async def _judge(self) -> None:
        """Drop whose lease has lapsed, if the bucket's leader says so too.

        On a cluster the watch may have died with its server, and after a leader's death nobody can renew
        anything for up to ten seconds: silence alone proves nothing.
        """
        oldest = anyio.current_time() - limits.MEMBER_LEASE_S
        lapsed = [key for key, sign in self._seen.items() if sign.at < oldest]
        try:
            with anyio.fail_after(ASK_TIMEOUT_S):
                renewed = [await self._bucket.get(key, fresh=True) for key in lapsed]
        except (Unavailable, OutcomeUnknown, TimeoutError):
            self.forgive()
            return
        if lapsed and self._quiet and not self._led_for_long():
            return
        for key, entry in zip(lapsed, renewed, strict=True):
            known = self._seen.get(key)
            if entry is not None and known is not None and entry.revision > known.revision:
                self._keep(entry)
            elif known is not None and known.at < oldest:
                log.warning("%s has not renewed its lease for %g s", key, limits.MEMBER_LEASE_S)
                self._drop(key)

    @property
    def _quiet(self) -> bool:
        """Whether nobody is heard of, ourselves included: perhaps nobody could be."""
        return anyio.current_time() - self._heard > 2 * limits.MEMBER_RENEW_S

    def _led_for_long(self) -> bool:
        """Whether the bucket has had a leader for so long that those who live would have renewed."""
        self._led_since = min(self._led_since, anyio.current_time())
        return anyio.current_time() - self._led_since > 2 * limits.MEMBER_RENEW_S

    def _hear(self) -> None:
        if self._quiet:
            self.forgive()
        self._heard = anyio.current_time()

    def forgive(self) -> None:
        """Give everybody a whole lease from now on: nobody could be heard."""
        now = anyio.current_time()
        self._led_since = math.inf
        self._seen = {key: _Sign(now, sign.revision) for key, sign in self._seen.items()}

    def _keep(self, entry: Entry) -> None:
        self._seen[entry.key] = _Sign(anyio.current_time(), entry.revision)
        body = _body(entry.value)
        if entry.key not in self._live or self._live[entry.key] != body:
            self._live = self._live | {entry.key: body}
            self._changed.set()

    def _drop(self, key: str) -> None:
        self._seen.pop(key, None)
        if key in self._live:
            self._live = {other: body for other, body in self._live.items() if other != key}
            self._changed.set()


class _Sign(msgspec.Struct, frozen=True):
    """The last sign of a member's life."""

    at: float
    revision: int


@asynccontextmanager
async def members(bus: Bus, subjects: Subjects, pattern: str = ">") -> AsyncIterator[Members]:
    """A live view of the members whose key matches `pattern`, such as `kernel.*`; complete from the start.

    A member is gone when it says so, or when it was not heard of for `limits.MEMBER_LEASE_S` although it
    could have been. Those who hold a lease that matches the pattern tell at once; others some seconds later.
    """
    view = Members(bus, Bucket(bus, subjects.named(streams.MEMBERS)))
    forget_hook = bus.on_reconnect(view.forgive)
    try:
        async with anyio.create_task_group() as group:
            await group.start(view.follow, pattern)
            group.start_soon(view.expire)
            yield view
            group.cancel_scope.cancel()
    finally:
        forget_hook()


def owned(partitions: int, me: str, live: Collection[str]) -> frozenset[int]:
    """The partitions that are `me`'s among the `live`. Empty if `me` does not live."""
    return frozenset(partition for partition in range(partitions) if owner(partition, live) == me)


def owner(what: int | str, live: Collection[str]) -> str | None:
    """Whose a partition, a session or the like is: of the `live`, theirs with the highest hash.

    When a member comes or goes, only its own share changes hands. None if nobody lives.
    """
    return max(live, key=lambda member: _weight(what, member), default=None)


def _weight(what: int | str, member: str) -> bytes:
    return blake3.blake3(f"{what} {member}".encode()).digest(8)


def _body(value: bytes) -> Json:
    try:
        return msgspec.json.decode(value)
    except msgspec.DecodeError:
        return None
