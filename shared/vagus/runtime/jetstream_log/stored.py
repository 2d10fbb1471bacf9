"""Commits out of what the server delivers, and the errors out of what it refuses."""

from typing import Final

import msgspec

from vagus.contract.errors import Malformed, SessionNotFound, Unavailable, VagusError
from vagus.runtime import clock
from vagus.runtime.bus import ApiError, Message
from vagus.runtime.eventlog import Commit

NO_MESSAGE: Final = 10037
NO_STREAM: Final = 10059
_GO_NANOSECONDS: Final = len("2006-01-02T15:04:05.000000000Z")


class Delivery(msgspec.Struct, frozen=True):
    """What a consumer says of a message, in its reply subject."""

    stream_sequence: int
    consumer_sequence: int
    """Counts what this consumer delivered, from 1 without gaps: a gap is a loss on the way."""
    timestamp_ns: int

    @classmethod
    def of(cls, message: Message) -> "Delivery":
        """Read `$JS.ACK.<stream>.<consumer>.<deliveries>.<stream seq>.<consumer seq>.<ns>.<pending>`.

        The later form has a domain and an account before the stream and a random token at the end.
        """
        tokens = message.reply.split(".")
        at = 5 if len(tokens) == 9 else 7
        return cls(int(tokens[at]), int(tokens[at + 1]), int(tokens[at + 2]))


def from_direct_get(session_id: str, message: Message) -> Commit:
    """The commit of a direct get's reply."""
    headers = message.headers
    time = headers["Nats-Time-Stamp"]
    if len(time) != _GO_NANOSECONDS:  # Go cuts zeros at the end: make it the one form we write
        time = clock.format_ns(clock.parse(time))
    return _commit(session_id, headers["Nats-Subject"], int(headers["Nats-Sequence"]), time, message)


def from_consumer(session_id: str, message: Message, delivery: Delivery) -> Commit:
    """The commit of a consumer's message."""
    time = clock.format_ns(delivery.timestamp_ns)
    return _commit(session_id, message.subject, delivery.stream_sequence, time, message)


def read_error(session_id: str, error: VagusError) -> VagusError:
    """What a reader is told when the server answered `error`, or nothing: a read changes nothing."""
    if isinstance(error, ApiError):
        if error.err_code == NO_STREAM:
            return SessionNotFound(f"session not found: {session_id}")
        if error.code < 500:
            return error
    return Unavailable(f"cannot read the log of {session_id}: {error.message}")


def _commit(session_id: str, subject: str, sequence: int, time: str, message: Message) -> Commit:
    try:
        first, last = int(message.headers["Vagus-First"]), int(message.headers["Vagus-Last"])
    except (KeyError, ValueError) as error:
        raise Malformed(f"message {sequence} of the log of {session_id} is not a commit") from error
    return Commit(
        session_id=session_id,
        branch_id=subject.rpartition(".")[2],
        stream_sequence=sequence,
        first=first,
        last=last,
        payload=message.data,
        stored_at=time,
        traceparent=message.headers.get("traceparent"),
    )
