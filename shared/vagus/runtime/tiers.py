"""Pulling from several consumers, the more urgent first, with no more in hand than there are slots.

A standing request cannot be taken back: the message it brings comes when the last slot may be gone. So while
a consumer may have messages it is asked for what there is at this moment and no more; only when all are empty
one request for one message stands with each. What such a bell brings to a full hand is handed on, not kept:
another process may be idle.

A slot is free as soon as its work is done (`Delivery.spare`): that the report is stored and the message acked
takes a write to the disk, while the next one comes.

Of four free slots two are offered to the most urgent consumer first, and one to each of the others: so what
is urgent waits for one call at most, and nobody starves.
"""

import asyncio
import logging
import math
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import Final, Self

import anyio
import msgspec

from vagus.contract.errors import VagusError
from vagus.contract.streams import ConsumerSpec
from vagus.runtime.answers import read_answer
from vagus.runtime.bus import Bus, Message, Subscription
from vagus.runtime.origin import Origin
from vagus.runtime.provision import creation
from vagus.runtime.queue import CLOSE_TIMEOUT_S, RETRY_S, Delivery

log = logging.getLogger("vagus.queue")

BELL_S: Final = 1.0
"""How long a bell stands: for so long a hand that has become full may still be brought something."""
ASK_S: Final = 0.001
"""A request goes so late at most: rather with the report of what has just come than before it."""
LOST_S: Final = 2.0
"""A request that is not answered for so long is taken for lost."""
EMPTY_S: Final = 0.02
"""How long a consumer that was empty is not asked again; under load this saves a request for each message."""
_MADE: Final = "made"
_NOW: Final = b'{"batch":%d,"no_wait":true}'
_BELL: Final = b'{"batch":1,"expires":%d}'


class _Tier:
    """One consumer, and what was asked of it."""

    def __init__(self, spec: ConsumerSpec) -> None:
        self.spec = spec
        self.next = f"$JS.API.CONSUMER.MSG.NEXT.{spec.stream}.{spec.name}"
        self.asked = 0
        """Messages that may still come."""
        self.bell = False
        """What is asked stands until something comes."""
        self.asked_at = 0.0
        self.empty_at = -math.inf
        """When it was last known to be empty."""
        self.not_before = 0.0
        self.trouble = ""

    def may_have(self, now: float) -> bool:
        """Whether it is worth asking: nothing is asked of it yet, and it was not empty just now."""
        return not self.asked and now >= self.not_before and now - self.empty_at >= EMPTY_S


class TieredPull:
    """Keeps messages of durable pull consumers coming while the block lasts.

    At most `capacity` deliveries are worked on at a time, and twice as many are unsettled. At the block's end
    what is on its way goes back to the queue at once; what was delivered is still the owner's to settle.
    Consumers that the server has lost are made again.

    Args:
        bus: The connection.
        consumers: The most urgent first.
        capacity: How many deliveries the owner works on at most.
        deliver: Takes each delivery, synchronously; must not block.
        hand_on: Takes one for which there is no room, likewise: it is not to be kept.
    """

    def __init__(
        self,
        bus: Bus,
        consumers: Sequence[ConsumerSpec],
        *,
        capacity: int,
        deliver: Callable[[Delivery], None],
        hand_on: Callable[[Delivery], None],
    ) -> None:
        self._bus = bus
        self._tiers = [_Tier(spec) for spec in consumers]
        self._capacity = capacity
        self._deliver = deliver
        self._hand_on = hand_on
        self._inbox = bus.new_inbox()
        self._round = 0
        self._held = 0
        self._busy = 0
        self._taken = 0
        self._open = False
        self._timer: asyncio.TimerHandle | None = None
        self._subscription: Subscription | None = None
        self._forget_hook: Callable[[], None] = _nothing

    @property
    def held(self) -> int:
        """Unsettled deliveries, without those that are handed on."""
        return self._held

    async def __aenter__(self) -> Self:
        self._open = True
        self._subscription = await self._bus.subscribe_callback(f"{self._inbox}.*.*", self._arrived)
        self._forget_hook = self._bus.on_reconnect(self._start_over)
        self._watch()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._open = False
        self._forget_hook()
        if self._timer is not None:
            self._timer.cancel()
        if self._subscription is not None:
            with anyio.move_on_after(CLOSE_TIMEOUT_S, shield=True):
                await self._subscription.drain()

    @property
    def _room(self) -> int:
        """For so many more there is."""
        return min(self._capacity - self._busy, 2 * self._capacity - self._held)

    # Asking -----------------------------------------------------------------------------------------------

    def _ask(self) -> None:
        """Offer the free slots: first to who may have messages, then, if nobody has, to who comes first."""
        if not self._open or not self._bus.connected:
            return
        now = asyncio.get_running_loop().time()
        free = self._room - sum(tier.asked for tier in self._tiers if not tier.bell)
        while free > 0:
            promising = [tier for tier in self._tiers if tier.may_have(now)]
            if not promising:
                break
            tier = self._first(promising)
            count = free if len(promising) == 1 else 1
            self._request(tier, _NOW % count, count, bell=False)
            free -= count
        if free > 0:
            for tier in self._tiers:
                if not tier.asked and now >= tier.not_before:
                    self._request(tier, _BELL % round(BELL_S * 1e9), 1, bell=True)

    def _first(self, promising: "list[_Tier]") -> "_Tier":
        """Whose turn it is, else the most urgent."""
        turns = (self._tiers[0], *self._tiers)
        whose = turns[self._taken % len(turns)]
        return whose if whose in promising else promising[0]

    def _request(self, tier: _Tier, body: bytes, count: int, *, bell: bool) -> None:
        tier.asked, tier.bell = count, bell
        tier.asked_at = asyncio.get_running_loop().time()
        self._bus.send(tier.next, body, reply=self._address(tier, str(self._round)), within_s=ASK_S)

    def _address(self, tier: _Tier, about: str) -> str:
        return f"{self._inbox}.{self._tiers.index(tier)}.{about}"

    # Hearing ----------------------------------------------------------------------------------------------

    def _arrived(self, message: Message) -> None:
        origin = Origin.of(message.reply)
        if origin is None:
            self._told(message)
            return
        tier = next(tier for tier in self._tiers if tier.spec.name == origin.consumer)
        tier.asked = max(0, tier.asked - 1)
        tier.trouble = ""
        tier.empty_at = -math.inf if origin.pending else asyncio.get_running_loop().time()
        if not self._open:
            self._bus.send(message.reply, b"-NAK")
        elif self._room <= 0:
            tier.empty_at = -math.inf  # it is on its way back
            self._hand_on(Delivery(self._bus, message, origin, _nothing))
        else:
            self._held += 1
            self._busy += 1
            self._taken += 1
            self._deliver(Delivery(self._bus, message, origin, self._settled, self._spared))
            self._ask()

    def _spared(self) -> None:
        self._busy -= 1
        self._ask()

    def _settled(self) -> None:
        self._held -= 1
        self._ask()

    def _told(self, message: Message) -> None:
        """The server says something about a request."""
        *_, place, about = message.subject.split(".")
        tier = self._tiers[int(place)]
        if about == _MADE:
            self._made(tier, message)
        elif about == str(self._round):
            now = asyncio.get_running_loop().time()
            tier.asked = 0
            if message.status in (404, 408):
                tier.empty_at = now
                self._ask()
            else:
                tier.not_before = now + RETRY_S  # from when on somebody may ask though no answer came
                self._make(tier)

    def _make(self, tier: _Tier) -> None:
        """Have the server make the consumer, unless it is there; its answer starts the pull anew."""
        verb, request = creation(tier.spec)
        reply = self._address(tier, _MADE)
        self._bus.send(f"$JS.API.{verb}", msgspec.json.encode(request), reply=reply)

    def _made(self, tier: _Tier, message: Message) -> None:
        """The consumer is there, or cannot be made now; it may still exist, with other settings."""
        try:
            read_answer(message.data)
        except (VagusError, msgspec.MsgspecError) as error:
            if str(error) != tier.trouble:
                tier.trouble = str(error)
                log.warning("cannot pull from %s (%s); trying on", tier.spec.name, error)
            return  # the watch asks again
        tier.not_before = 0.0
        tier.empty_at = -math.inf
        self._ask()

    def _start_over(self) -> None:
        """The server may have forgotten our requests; what it still answers to the old ones is welcome."""
        self._round += 1
        for tier in self._tiers:
            tier.asked, tier.not_before, tier.empty_at = 0, 0.0, -math.inf
        self._ask()

    def _watch(self) -> None:
        loop = asyncio.get_running_loop()
        self._timer = loop.call_later(BELL_S, self._watch)
        for tier in self._tiers:
            if tier.asked and loop.time() - tier.asked_at > LOST_S:
                log.warning("heard nothing of the pull from %s; asking again", tier.spec.name)
                tier.asked = 0
        self._ask()


def _nothing() -> None:
    """No hook yet."""
