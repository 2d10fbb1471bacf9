"""Work queues: pulling, acknowledging, keeping alive, giving up.

A pull that is used up or expired ends without a word, and a lost one is silent too. So a `Pull` asks for
more before it runs dry, listens for the server's heartbeats, starts over after a reconnect, and makes its
consumer again when the server has lost it. It costs no task: arrivals, acks and a timer drive it.
"""

import asyncio
import logging
import math
from collections.abc import Callable, Mapping
from types import TracebackType
from typing import Final, Self

import anyio
import msgspec

from vagus.contract import limits
from vagus.contract.errors import OutcomeUnknown, Transient, VagusError
from vagus.contract.streams import ConsumerSpec
from vagus.contract.subjects import Subjects
from vagus.runtime import returns
from vagus.runtime.answers import read_answer
from vagus.runtime.bus import Bus, Message, Subscription
from vagus.runtime.letters import store_letter
from vagus.runtime.origin import Origin
from vagus.runtime.provision import creation

log = logging.getLogger("vagus.queue")

EXPIRES_S: Final = 30.0
"""How long the server keeps one pull request open."""
HEARTBEAT_S: Final = 4.0
"""How often the server tells an idle request that it stands; after two and a half it is taken for lost."""
RETRY_S: Final = 0.5
"""At least, between two attempts to make the consumer."""
_MADE: Final = "made"
ACK_S: Final = 0.005
"""An ack goes so late at most. The server then removes the message, with a write to its disk that whoever
puts the next one into the queue would have to wait for."""
CLOSE_TIMEOUT_S: Final = 2.0
_OWN_HEADERS: Final = 8 * limits.KIB
"""What those of the message itself may take of a dead letter's: whoever sent it chose them."""
_NEXT: Final = b'{"batch":%d,"expires":%d,"idle_heartbeat":%d}'


class Delivery:
    """A message of a work queue that is ours until it is settled: by `ack`, `nak` or `term`, once.

    Settling is sent at most once and not confirmed: when it is lost, the message comes again.
    """

    __slots__ = (
        "_ack_subject",
        "_bus",
        "_on_settled",
        "_on_spared",
        "consumer",
        "data",
        "deliveries",
        "headers",
        "pending",
        "published_at",
        "settled",
        "stream",
        "stream_sequence",
        "subject",
    )

    def __init__(
        self,
        bus: Bus,
        message: Message,
        origin: Origin,
        on_settled: Callable[[], None],
        on_spared: Callable[[], None] | None = None,
    ) -> None:
        self._bus = bus
        self._ack_subject = message.reply
        self._on_settled = on_settled
        self._on_spared = on_spared
        self.subject = message.subject
        self.data = message.data
        self.headers = message.headers
        self.stream = origin.stream
        self.consumer = origin.consumer
        self.deliveries = origin.deliveries
        """How often it was delivered, this time included."""
        self.stream_sequence = origin.stream_sequence
        self.published_at = origin.stored_ns / 1e9
        """When the server stored it, seconds since the epoch, UTC."""
        self.pending = origin.pending
        """Messages that waited behind it for this consumer."""
        self.settled = False

    def spare(self) -> None:
        """The work is done but for telling of it: there is room for another. Settling says the same."""
        if self._on_spared is not None:
            hook, self._on_spared = self._on_spared, None
            hook()

    async def ack(self) -> None:
        """It is done; never deliver it again."""
        self._settle(b"+ACK", within_s=ACK_S)

    async def nak(self, delay_s: float = 0) -> None:
        """It could not be done now; deliver it again, to anybody, after `delay_s` seconds."""
        self._settle(_nak(delay_s))

    async def give_back(self, delay_s: float = 0) -> None:
        """As `nak`, by one who is well: no delivery up to this one counts against the message."""
        self.give_back_nowait(delay_s)

    def give_back_nowait(self, delay_s: float = 0) -> None:
        """As `give_back`, for those that cannot await."""
        if not self.settled:
            returns.note(self._bus, self.stream, self.stream_sequence, self.deliveries)
            self._settle(_nak(delay_s))

    async def worn_out(self) -> bool:
        """Whether it came `limits.MAX_DELIVERIES` times since it was last given back in good order."""
        if self.deliveries < limits.MAX_DELIVERIES:
            return False
        try:
            forgiven = await returns.noted(self._bus, self.stream, self.stream_sequence)
        except (OutcomeUnknown, Transient) as error:
            log.info("%s is tried once more: %s", self.subject, error)
            return False
        return self.deliveries - forgiven >= limits.MAX_DELIVERIES

    async def term(self) -> None:
        """It can never be done; never deliver it again."""
        self._settle(b"+TERM")

    def forget(self) -> None:
        """It was delivered again, and that delivery is the one to settle: only make room for another."""
        if not self.settled:
            self.settled = True
            self.spare()
            self._on_settled()

    async def in_progress(self) -> None:
        """It is being done; the time until it would be delivered again starts anew."""
        self.tell_progress()

    def tell_progress(self) -> None:
        """As `in_progress`, for those that cannot await."""
        if not self.settled:
            self._bus.send(self._ack_subject, b"+WPI")

    def _settle(self, how: bytes, *, within_s: float = 0.0) -> None:
        if not self.settled:
            self.settled = True
            self._bus.send(self._ack_subject, how, within_s=within_s)
            self.spare()
            self._on_settled()


class Pull:
    """Keeps messages of one durable consumer coming while the block lasts.

    At most `capacity` deliveries are unsettled at a time; settling one makes room for the next (after a
    reconnect there may be twice as many for a while). At the block's end what is on its way goes back to the
    queue at once; what was delivered is still the owner's to settle.

    Args:
        bus: The connection.
        consumer: The durable pull consumer. The server keeps it in memory, so that it is gone after a restart
            of the server, while its messages are not: it is made again whenever it is missing.
        capacity: How many unsettled deliveries the owner wants at most.
        deliver: Takes each delivery, synchronously; must not block.
    """

    def __init__(
        self, bus: Bus, consumer: ConsumerSpec, *, capacity: int, deliver: Callable[[Delivery], None]
    ) -> None:
        self._bus = bus
        self._next = f"$JS.API.CONSUMER.MSG.NEXT.{consumer.stream}.{consumer.name}"
        self._consumer = consumer
        self._name = f"{consumer.stream}/{consumer.name}"
        self._capacity = capacity
        self._refill = (capacity + 1) // 2
        self._deliver = deliver
        self._inbox = bus.new_inbox()
        self._round = 0
        self._held = 0
        self._asked = 0
        self._heard = 0.0
        self._not_before = 0.0
        self._made_at = -math.inf
        self._trouble = ""
        self._open = False
        self._timer: asyncio.TimerHandle | None = None
        self._retry: asyncio.TimerHandle | None = None
        self._subscription: Subscription | None = None
        self._elections: Subscription | None = None
        self._forget_hook: Callable[[], None] = _nothing

    @property
    def held(self) -> int:
        """Unsettled deliveries."""
        return self._held

    async def __aenter__(self) -> Self:
        self._open = True
        self._subscription = await self._bus.subscribe_callback(f"{self._inbox}.*", self._arrived)
        # On a cluster the requests die with the server that led the consumer, and our connection may live on.
        elected = Subjects.elected(self._consumer.stream, self._consumer.name)
        self._elections = await self._bus.subscribe_callback(elected, lambda _: self._start_over())
        self._forget_hook = self._bus.on_reconnect(self._start_over)
        self._watch()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._open = False
        self._forget_hook()
        for timer in (self._timer, self._retry):
            if timer is not None:
                timer.cancel()
        with anyio.move_on_after(CLOSE_TIMEOUT_S, shield=True):
            if self._elections is not None:
                await self._elections.unsubscribe()
            if self._subscription is not None:
                await self._subscription.drain()

    def _ask(self) -> None:
        """Ask for what there is room for, if it is worth a request."""
        room = self._capacity - self._held - self._asked
        if room <= 0 or (self._asked and room < self._refill) or not self._open or not self._bus.connected:
            return
        now = asyncio.get_running_loop().time()
        if now < self._not_before:
            return
        if not self._asked:
            self._heard = now
        self._asked += room
        body = _NEXT % (room, round(EXPIRES_S * 1e9), round(HEARTBEAT_S * 1e9))
        self._bus.send(self._next, body, reply=f"{self._inbox}.{self._round}")

    def _arrived(self, message: Message) -> None:
        self._heard = asyncio.get_running_loop().time()
        origin = Origin.of(message.reply)
        if origin is None:
            self._told(message)
            return
        self._trouble = ""
        self._asked = max(0, self._asked - 1)
        self._held += 1
        delivery = Delivery(self._bus, message, origin, self._released)
        if self._open:
            self._deliver(delivery)
            self._ask()
        else:
            delivery.give_back_nowait()

    def _released(self) -> None:
        self._held -= 1
        self._ask()

    def _told(self, message: Message) -> None:
        """The server says something about a request."""
        about = message.subject.rpartition(".")[2]
        if about == _MADE:
            self._made(message)
            return
        if message.status == 100 or about != str(self._round):
            return  # it stands, or it is one from before the reconnect
        unfilled = message.headers.get("Nats-Pending-Messages")
        if message.status == 408 or unfilled is not None:  # it expired, or was cut short, with so many to go
            self._asked = max(0, self._asked - int(unfilled)) if unfilled is not None else 0
            self._ask()
            return
        self._asked = 0
        self._not_before = math.inf
        if self._retry is not None:
            self._retry.cancel()
        wait_s = max(0.0, self._made_at + RETRY_S - self._heard)
        self._retry = asyncio.get_running_loop().call_later(wait_s, self._make)

    def _make(self) -> None:
        """Have the server make the consumer, unless it is there; its answer starts the pull anew."""
        self._made_at = asyncio.get_running_loop().time()
        self._not_before = self._made_at + RETRY_S  # from when on somebody may ask though no answer came
        verb, request = creation(self._consumer)
        self._bus.send(f"$JS.API.{verb}", msgspec.json.encode(request), reply=f"{self._inbox}.{_MADE}")

    def _made(self, message: Message) -> None:
        """The consumer is there, or cannot be made now; it may still exist, with other settings."""
        try:
            read_answer(message.data)
        except (VagusError, msgspec.MsgspecError) as error:
            if str(error) != self._trouble:
                self._trouble = str(error)
                log.warning("cannot pull from %s (%s); trying on", self._name, error)
        self._not_before = 0
        self._ask()

    def _start_over(self) -> None:
        """The server may have forgotten our requests; what it still answers to the old ones is welcome."""
        self._round += 1
        self._asked = 0
        self._not_before = 0
        self._ask()

    def _watch(self) -> None:
        loop = asyncio.get_running_loop()
        self._timer = loop.call_later(HEARTBEAT_S, self._watch)
        if self._asked and loop.time() - self._heard > 2.5 * HEARTBEAT_S:
            log.warning("heard nothing of the pull from %s; asking again", self._name)
            self._start_over()
        else:
            self._ask()


class KeepAlive:
    """Tells the server every `limits.PROGRESS_S` that the deliveries held are being worked on."""

    def __init__(self, bus: Bus) -> None:
        self._bus = bus
        self._held: dict[Delivery, None] = {}
        self._timer: asyncio.TimerHandle | None = None
        self._forget_hook: Callable[[], None] = _nothing

    def hold(self, delivery: Delivery) -> None:
        """Keep it ours until it is settled or dropped. Idempotent."""
        self._held[delivery] = None

    def drop(self, delivery: Delivery) -> None:
        """Say nothing about it any more. Idempotent."""
        self._held.pop(delivery, None)

    async def __aenter__(self) -> Self:
        self._forget_hook = self._bus.on_reconnect(self._tell)
        self._tick()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._forget_hook()
        if self._timer is not None:
            self._timer.cancel()

    def _tick(self) -> None:
        self._timer = asyncio.get_running_loop().call_later(limits.PROGRESS_S, self._tick)
        self._tell()

    def _tell(self) -> None:
        for delivery in tuple(self._held):
            if delivery.settled:
                del self._held[delivery]
            else:
                delivery.tell_progress()


async def dead_letter(bus: Bus, subjects: Subjects, where: str, delivery: Delivery, reason: str) -> None:
    """Put a message that cannot be handled where people find it, and end it; when that fails, it comes again.

    Args:
        bus: The connection.
        subjects: The names.
        where: Subject tokens under the dead letters: the process kind and, if known, the session.
        delivery: The message; its data is kept (`Vagus-Size` is there when it had to be cut), its headers
            too, as far as there is room (`Vagus-Left-Out` counts the others), those with a meaning to the
            server as `Vagus-Original-...`.
        reason: One line for a person.
    """
    origin = f"{delivery.stream}.{delivery.stream_sequence}"
    try:
        letter = await store_letter(
            bus,
            subjects,
            where,
            delivery.data,
            subject=delivery.subject,
            origin=origin,
            msg_id=origin,
            deliveries=delivery.deliveries,
            reason=reason,
            headers=_own(delivery.headers),
        )
    except VagusError as error:
        log.error("no dead letter for %s of %s: %s", origin, delivery.subject, error)
        await delivery.nak(limits.ACK_WAIT_S)
    else:
        log.warning("dead letter: %s", letter)
        await delivery.term()


def _own(headers: Mapping[str, str]) -> dict[str, str]:
    """A message's headers as its dead letter can have them: each on one line, and not too many."""
    kept: dict[str, str] = {}
    room = _OWN_HEADERS
    for number, field in enumerate(headers.items()):
        name, value = (" ".join(text.split()) for text in field)
        if name.startswith("Nats-"):
            name = f"Vagus-Original-{name}"
        room -= len(f"{name}: {value}\r\n".encode())
        if room < 0:
            kept["Vagus-Left-Out"] = str(len(headers) - number)
            break
        kept[name] = value
    return kept


def _nak(delay_s: float) -> bytes:
    return b'-NAK {"delay":%d}' % round(delay_s * 1e9) if delay_s > 0 else b"-NAK"


def _nothing() -> None:
    """No hook yet."""
