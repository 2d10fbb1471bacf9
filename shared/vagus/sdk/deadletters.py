"""Dead letters: messages that no process could handle, for people to look at, send again or drop."""

from collections.abc import Iterator, Mapping
from typing import Final

import anyio
import msgspec

from vagus.contract import limits
from vagus.contract.clock import format_ns
from vagus.contract.errors import NotFound, Refused, Unavailable
from vagus.contract.ids import is_id
from vagus.contract.subjects import Subjects
from vagus.runtime.bus import ApiError, Bus, Message
from vagus.runtime.jetstream_log.consumer import create_push_consumer, seconds
from vagus.runtime.origin import Origin
from vagus.runtime.subscription.burial import KIND as SUBSCRIPTION
from vagus.runtime.subscription.opening import UNNAMED
from vagus.runtime.subscription.revivals import revive
from vagus.sdk.post import store_once

PAGE: Final = 256


class DeadLetter(msgspec.Struct, frozen=True, kw_only=True):
    """A message that was given up."""

    id: int
    """Counts up over all dead letters."""
    kind: str
    """The kind of process that could not handle it."""
    session_id: str | None
    """None: its subject names none."""
    reason: str
    subject: str | None
    """Where it was published, and goes again; None if that cannot be told, or it is a subscription's."""
    origin: str
    """`<stream>.<sequence>` of the message."""
    deliveries: int
    died_at: str
    size: int
    """Of its body, in bytes."""
    cut: bool
    """Only the beginning of the body is left: it was too long for a dead letter."""
    headers: dict[str, str]
    """Its own; not those with a meaning to the server."""
    subscription: str | None = None
    """The durable subscription that has given this event up, and is given it again."""
    data: bytes | None = None
    """The body; not in lists."""


class DeadLetters:
    """The stream of dead letters, and the way back to the queues."""

    def __init__(self, *, bus: Bus, subjects: Subjects) -> None:
        self._bus = bus
        self._stream = subjects.named("DEAD")
        self._subjects = subjects

    async def all(self, session_id: str | None, *, after: int, limit: int) -> list[DeadLetter]:
        """Those with an id over `after`, oldest first, without their bodies; of a session or of all."""
        subject = self._subjects.dead() if session_id is None else self._subjects.dead(f"*.{session_id}")
        found: list[DeadLetter] = []
        while len(found) < limit:
            page = await self._read(subject, after + 1, min(PAGE, limit - len(found)), bare=True)
            if not page:
                break
            found += page
            after = page[-1].id
        return found

    async def get(self, letter_id: int) -> DeadLetter:
        """One with its body; raises `NotFound`."""
        found = await self._find(letter_id, bare=False)
        if found is None:
            raise _missing(letter_id)
        return found

    async def retry(self, letter_id: int) -> DeadLetter:
        """Put the message on its queue again, and remove the dead letter once it is stored there.

        An event goes to the durable subscription that has given it up, and to no other.

        Raises:
            NotFound: There is none of this id.
            Refused: It was cut, or its dead letter does not tell where it belongs; or the subscription is no
                more, or has another filter.
            Unavailable: It is not stored; the dead letter is still there.
            OutcomeUnknown: It may be stored; the dead letter is still there, and trying again is safe.
        """
        letter = await self.get(letter_id)
        if letter.cut or letter.data is None:
            raise Refused(
                f"dead letter {letter_id} holds only the beginning of {letter.size} bytes: it cannot be "
                "sent again; drop it"
            )
        if letter.kind == SUBSCRIPTION:
            await self._revive(letter, letter.data)
            await self._remove(letter_id)
            return letter
        if letter.subject is None:
            raise Refused(f"dead letter {letter_id} does not tell which queue it belongs to: drop it")
        # The message's own id would be taken for a copy of what was stored before. Of this one, too, there
        # is only one within the duplicate window: a retry whose removal was lost is not stored twice.
        msg_id = f"dead.{letter.origin}.{letter_id}"
        await store_once(self._bus, letter.subject, letter.data, msg_id=msg_id, headers=letter.headers)
        await self._remove(letter_id)
        return letter

    async def _revive(self, letter: DeadLetter, line: bytes) -> None:
        if letter.subscription is None:
            raise Refused(
                f"dead letter {letter.id} was given up by a subscription without a name, which nobody can be "
                "given it again: drop it"
            )
        position = _number(letter.origin.rpartition(".")[2])
        await revive(self._bus, self._subjects, letter.subscription, letter.id, position, line)

    async def drop(self, letter_id: int) -> None:
        """Remove one for good; raises `NotFound`."""
        if not await self._remove(letter_id):
            raise _missing(letter_id)

    async def _remove(self, letter_id: int) -> bool:
        """Whether it was there."""
        try:
            await self._bus.api(f"STREAM.MSG.DELETE.{self._stream}", {"seq": letter_id, "no_erase": True})
        except ApiError:  # with the same code and many texts, whatever is in the way
            if await self._find(letter_id, bare=True) is not None:
                raise
            return False
        return True

    async def _find(self, letter_id: int, *, bare: bool) -> DeadLetter | None:
        found = await self._read(self._subjects.dead(), max(1, letter_id), 1, bare=bare)
        return found[0] if found and found[0].id == letter_id else None

    async def _read(self, subject: str, start: int, count: int, *, bare: bool) -> list[DeadLetter]:
        inbox = self._bus.new_inbox()
        async with self._bus.subscribe(inbox, limit=count) as messages:
            # Nothing is acknowledged: the server delivers as many as may be unacknowledged, which is a page.
            options = {
                "ack_policy": "explicit",
                "ack_wait": seconds(limits.DUPLICATE_WINDOW_S),
                "headers_only": bare,
                "max_ack_pending": count,
            }
            waiting = await create_push_consumer(
                self._bus, self._stream, subject, inbox=inbox, start=start, options=options
            )
            found: list[DeadLetter] = []
            with anyio.move_on_after(limits.REQUEST_TIMEOUT_S):
                while len(found) < min(count, waiting):
                    found += self._letter(await anext(messages), bare=bare)
                return found
        raise Unavailable(f"cannot read {self._stream}: {waiting} dead letters from {start} did not come")

    def _letter(self, message: Message, *, bare: bool) -> Iterator[DeadLetter]:
        origin = Origin.of(message.reply)
        if origin is None:
            return
        headers = message.headers
        _, _, kind, *session = message.subject.split(".")
        size = headers.get("Vagus-Size") or headers.get("Nats-Msg-Size") or str(len(message.data))
        yield DeadLetter(
            id=origin.stream_sequence,
            kind=kind,
            session_id=session[0] if session else None,
            reason=headers.get("Vagus-Reason", ""),
            subject=self._subjects.published(headers.get("Vagus-Subject", "")),
            origin=headers.get("Vagus-Sequence", ""),
            deliveries=_number(headers.get("Vagus-Deliveries", "")),
            died_at=format_ns(origin.stored_ns),
            size=_number(size),
            cut="Vagus-Size" in headers,
            headers=_own(headers),
            subscription=_subscription(headers.get("Nats-Msg-Id", "")) if kind == SUBSCRIPTION else None,
            data=None if bare else message.data,
        )


def _own(headers: Mapping[str, str]) -> dict[str, str]:
    return {name: value for name, value in headers.items() if not name.startswith(("Nats-", "Vagus-"))}


def _subscription(msg_id: str) -> str | None:
    """The durable name in the id of a subscription's dead letter; None if there is none."""
    name = msg_id.partition(".")[0]
    return name if name != UNNAMED and is_id(name) else None


def _number(text: str) -> int:
    """A number that one of our processes has written; 0 if somebody else did."""
    return int(text) if text.isascii() and text.isdigit() else 0


def _missing(letter_id: int) -> NotFound:
    return NotFound(f"no dead letter {letter_id}: it was sent again, dropped, or never there")
